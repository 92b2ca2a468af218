"""What is told of the logits."""

from __future__ import annotations

import numpy as np

from craft_zoo.serve.settings import Answers


def told(logits: np.ndarray, answers: Answers, top_k: int | None) -> np.ndarray:
    """The answer that logits are turned into.

    Args:
        logits: (..., C) float32, finite.
        answers: as they are, or their log softmax over the classes.
        top_k: so many entries of a row are told. The others all become the least of these minus
            log C: finite, below all that are told, and the same whatever they were.

    Returns:
        (..., C) float32.
    """
    if answers == "log_probabilities":
        logits = log_softmax(logits)
    n_classes = logits.shape[-1]
    if top_k is None or top_k >= n_classes:
        return logits
    order = np.argsort(-logits, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    least = np.take_along_axis(logits, order[..., top_k - 1 : top_k], axis=-1)
    floor = np.maximum(least - np.float32(np.log(n_classes)), np.finfo(np.float32).min)
    return np.where(rank < top_k, logits, floor).astype(np.float32)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities over the last axis, float32 and finite."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    normal = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.maximum(shifted - normal, np.finfo(np.float32).min).astype(np.float32)
