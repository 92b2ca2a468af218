"""What is told of the logits."""

from __future__ import annotations

import numpy as np

from craft_zoo.serve.settings import Answers

_TOGETHER = 2**17  # scores that are worked on at once, in double precision
_LEAST = np.finfo(np.float32).min


def told(logits: np.ndarray, answers: Answers, top_k: int | None) -> np.ndarray:
    """The answer that logits are turned into.

    Little more is allocated than the answer, whatever its size.

    Args:
        logits: (..., C) float32, finite.
        answers: as they are, or their log softmax over the classes.
        top_k: so many entries of a row are told. The others all become the least of these minus
            log C: finite, below all that are told, and the same whatever they were. Among equal
            ones the first are told.

    Returns:
        (..., C) float32; the logits themselves where all is told as it is.
    """
    n_classes = logits.shape[-1]
    if top_k is not None and top_k >= n_classes:
        top_k = None
    if answers == "logits" and top_k is None:
        return logits
    answer = np.empty(logits.shape, np.float32)
    rows, written = logits.reshape(-1, n_classes), answer.reshape(-1, n_classes)
    together = max(1, _TOGETHER // n_classes)
    for first in range(0, len(rows), together):
        some = rows[first : first + together]
        if answers == "log_probabilities":
            some = log_softmax(some)
        if top_k is not None:
            some = _best(some, top_k)
        written[first : first + together] = some
    return answer


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities over the last axis, float32 and finite."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    normal = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.maximum(shifted - normal, _LEAST).astype(np.float32)


def _best(rows: np.ndarray, top_k: int) -> np.ndarray:
    """Rows (n, C) of which top_k < C entries are told."""
    n_classes = rows.shape[-1]
    least = np.partition(rows, n_classes - top_k, axis=-1)[:, n_classes - top_k, None]
    above, equal = rows > least, rows == least
    wanted = top_k - above.sum(axis=-1, keepdims=True)
    is_told = above | (equal & (equal.cumsum(axis=-1) <= wanted))
    return np.where(is_told, rows, np.maximum(least - np.float32(np.log(n_classes)), _LEAST))
