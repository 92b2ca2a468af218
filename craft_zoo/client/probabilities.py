"""Probabilities as services return them: rounded, and some left out."""

from __future__ import annotations

import numpy as np

UNROUNDED = 12  # decimals: smaller probabilities make no difference
_ROUNDED = range(1, 7)  # decimals to which services round
_ASSUMED = 3  # decimals, where answers do not show them
_ENOUGH = 5  # probabilities that end after one or two decimals seldom do so by chance


def decimals_of(probabilities: np.ndarray) -> int | None:
    """Number of decimals to which probabilities are rounded, :data:`UNROUNDED` if they are not.

    Args:
        probabilities: of any shape. Those that are 0 or 1 show nothing.

    Returns:
        None: there are too few to know it.
    """
    values = np.asarray(probabilities, np.float64)
    values = values[(values > 10.0**-UNROUNDED) & (values < 1)]
    for decimals in _ROUNDED:
        scaled = values * 10.0**decimals
        nearest = np.round(scaled)
        # Those of a model that is almost certain are near to 0 and 1, but not rounded.
        if np.abs(scaled - nearest).max(initial=0) < 10.0 ** (decimals - 7) and nearest.all():
            return decimals if decimals >= _ASSUMED or values.size >= _ENOUGH else None
    return UNROUNDED


def floor_of(decimals: int | None) -> float:
    """Probability that replaces a zero: half of the last decimal.

    Args:
        decimals: see :func:`decimals_of`.
    """
    return 0.5 * 10.0 ** -(_ASSUMED if decimals is None else decimals)


def log_of(probabilities: np.ndarray, decimals: int | None) -> np.ndarray:
    """Natural logarithms of (N, C) probabilities, float32 and finite.

    Zeros become :func:`floor_of`. If a row's sum shows that the service left out its small
    probabilities, as with the five largest alone, the zeros share what is missing, each at most the
    smallest probability of the row.
    """
    known = np.asarray(probabilities, np.float64)
    floor = floor_of(decimals)
    zeros = known <= 0
    count = zeros.sum(axis=-1, keepdims=True)
    missing = 1 - known.sum(axis=-1, keepdims=True)
    smallest = np.where(zeros, 1.0, known).min(axis=-1, keepdims=True)
    # Rounding alone can leave out half a decimal of each class.
    left_out = np.where(missing > floor * known.shape[-1], missing / np.maximum(count, 1), 0)
    filled = np.where(zeros, np.minimum(left_out, smallest), known)
    return np.log(np.maximum(filled, floor)).astype(np.float32)
