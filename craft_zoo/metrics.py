"""Classification accuracy and its confidence interval."""

from __future__ import annotations

import numpy as np


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose largest logit is that of their label: (N, C) and (N,) → [0, 1]."""
    return float((logits.argmax(axis=-1) == labels).mean())


def interval(correct: int, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of an accuracy, both ends in [0, 1]; (0, 1) without images."""
    from scipy.stats import binomtest  # takes a second to import

    if not images:
        return 0.0, 1.0
    found = binomtest(correct, images).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)
