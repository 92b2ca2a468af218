"""Classification accuracy, its confidence interval and calibration."""

from __future__ import annotations

import numpy as np


def predicted(logits: np.ndarray) -> np.ndarray:
    """(N,) index of the largest of each image's logits, (N, C).

    It is -1 where all logits are 0, as of an image that a service refused to answer about.
    """
    return np.where(logits.any(axis=-1), logits.argmax(axis=-1), -1)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose label is :func:`predicted`: (N, C) and (N,) → [0, 1]."""
    return float((predicted(logits) == labels).mean())


def percent(share: float) -> str:
    """A share in percent, to one decimal; "" for NaN."""
    return "" if share != share else f"{100 * share:.1f}"


def interval(correct: int, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of an accuracy, both ends in [0, 1]; (0, 1) without images."""
    from scipy.stats import binomtest  # takes a second to import

    if not images:
        return 0.0, 1.0
    found = binomtest(correct, images).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (ECE): mean distance of confidence and accuracy.

    The distance of a bin, see :func:`reliability`, counts by its share of the images; as in Guo et
    al. 2017, "On Calibration of Modern Neural Networks".

    Args:
        probabilities: (N, C).
        labels: (N,) int64.
        bins: number of bins.
    """
    counts, confidence, correct = reliability(probabilities, labels, bins)
    distances = np.abs(np.nan_to_num(confidence - correct))
    return float((counts * distances).sum() / max(1, len(labels)))


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reliability diagram: images in bins of equal width by their predicted class's probability.

    Args:
        probabilities: (N, C).
        labels: (N,) int64.
        bins: number of bins.

    Returns:
        For each bin its number of images, their mean confidence and their accuracy; NaN without
        images.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    counts = np.bincount(which, minlength=bins)
    sums = (np.bincount(which, weights=each, minlength=bins) for each in (confidence, correct))
    with np.errstate(invalid="ignore"):
        mean_confidence, mean_correct = (each / counts for each in sums)
    return counts, mean_confidence, mean_correct
