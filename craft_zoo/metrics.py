"""How good a prediction is."""

from __future__ import annotations

import numpy as np


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose largest logit is their label's, (N, C) and (N,) → [0, 1]."""
    return float((logits.argmax(axis=-1) == labels).mean())
