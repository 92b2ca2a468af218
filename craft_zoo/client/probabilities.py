"""Probabilities as services return them: rounded, and some left out."""

from __future__ import annotations

import numpy as np

_LEAST = 1e-12  # in place of the zeros of probabilities that are not rounded
_DECIMALS = (3, 4, 5, 6)  # to which services round


def decimals_of(probabilities: np.ndarray) -> int | None:
    """Number of decimals to which probabilities of any shape are rounded; None: they are not."""
    values = np.asarray(probabilities, np.float64)
    for decimals in _DECIMALS:
        scaled = values * 10.0**decimals
        nearest = np.round(scaled)
        # Those of a model that is almost certain are near to 0 and 1, but not rounded.
        is_rounded_off = (nearest == 0) & (values > _LEAST)
        if np.abs(scaled - nearest).max(initial=0) < 10.0 ** (decimals - 7):
            return None if is_rounded_off.any() else decimals
    return None


def floor_of(probabilities: np.ndarray) -> float:
    """Probability that replaces a zero: half of the last decimal, if probabilities are rounded.

    A service that rounds to d decimals returns multiples of 10⁻ᵈ only.
    """
    decimals = decimals_of(probabilities)
    return _LEAST if decimals is None else 0.5 * 10.0**-decimals


def log_of(probabilities: np.ndarray) -> np.ndarray:
    """Natural logarithms of (N, C) probabilities, float32 and finite.

    Zeros become :func:`floor_of`. If a row's sum shows that the service left out its small
    probabilities, as with the five largest alone, the zeros share what is missing, each at most the
    smallest probability of the row.
    """
    known = np.asarray(probabilities, np.float64)
    floor = floor_of(known)
    zeros = known <= 0
    count = zeros.sum(axis=-1, keepdims=True)
    missing = 1 - known.sum(axis=-1, keepdims=True)
    smallest = np.where(zeros, 1.0, known).min(axis=-1, keepdims=True)
    # Rounding alone can leave out half a decimal of each class.
    left_out = np.where(missing > floor * known.shape[-1], missing / np.maximum(count, 1), 0)
    filled = np.where(zeros, np.minimum(left_out, smallest), known)
    return np.log(np.maximum(filled, floor)).astype(np.float32)
