"""Which of many anchors to keep, by their logits on the training images."""

from __future__ import annotations

import numpy as np

from craft_zoo.refiner.convex import centred


def most_spread(logits: np.ndarray, count: int) -> np.ndarray:
    """(count,) columns of (N, K) logits that vary most from image to image, the first the most."""
    return _largest(centred(logits).var(axis=0), count)


def most_informative(logits: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """(count,) columns of (N, K) logits that say most of the labels (N,), each by itself.

    Mutual information as estimated from nearest neighbours (Ross 2014, scikit-learn's). With one
    image a class there is nothing to estimate it from: the first columns.
    """
    if np.bincount(labels).max() < 2:
        return np.arange(count)
    from sklearn.feature_selection import mutual_info_classif  # half a second that few runs need

    return _largest(mutual_info_classif(centred(logits), labels, random_state=0), count)


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-scores, kind="stable")[:count]
