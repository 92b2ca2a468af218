"""The scores that clients receive: log-softmax, and the largest scores alone."""

from __future__ import annotations

import numpy as np

from craft_zoo.server.settings import Answers

_BLOCK = 2**17  # scores that are converted at once, in double precision
_LEAST = np.finfo(np.float32).min


def scores_to_return(logits: np.ndarray, answers: Answers, top_k: int | None) -> np.ndarray:
    """The scores that a client receives, made of the model's logits.

    Apart from the result, the memory that is allocated is bounded.

    Args:
        logits: (..., C) float32, finite.
        answers: "logits" returns them unchanged, "log_probabilities" their log-softmax over the
            classes.
        top_k: number of scores of each row that are returned, the largest; of equal ones the first.
            All others are replaced by the smallest returned score minus log C, which is finite,
            below every returned score, and independent of what was replaced. None: all.

    Returns:
        (..., C) float32; the same array where nothing is changed.
    """
    n_classes = logits.shape[-1]
    if top_k is not None and top_k >= n_classes:
        top_k = None
    if answers == "logits" and top_k is None:
        return logits
    answer = np.empty(logits.shape, np.float32)
    rows, written = logits.reshape(-1, n_classes), answer.reshape(-1, n_classes)
    together = max(1, _BLOCK // n_classes)
    for first in range(0, len(rows), together):
        some = rows[first : first + together]
        if answers == "log_probabilities":
            some = log_probabilities(some)
        if top_k is not None:
            some = _best(some, top_k)
        written[first : first + together] = some
    return answer


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities over the last axis, float32 and finite."""
    # SciPy's function would allocate a half more.
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    normal = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.maximum(shifted - normal, _LEAST).astype(np.float32)


def _best(rows: np.ndarray, top_k: int) -> np.ndarray:
    """Rows (n, C) with all but the ``top_k`` < C largest entries replaced."""
    n_classes = rows.shape[-1]
    least = np.partition(rows, n_classes - top_k, axis=-1)[:, n_classes - top_k, None]
    above, equal = rows > least, rows == least
    wanted = top_k - above.sum(axis=-1, keepdims=True)
    kept = above | (equal & (equal.cumsum(axis=-1) <= wanted))
    return np.where(kept, rows, np.maximum(least - np.float32(np.log(n_classes)), _LEAST))
