"""Selection of anchors by their logits on the training images."""

from __future__ import annotations

import numpy as np

from craft_zoo.refiner.convex import centred


def highest_variance(logits: np.ndarray, count: int) -> np.ndarray:
    """(count,) indices of the columns of (N, K) logits with the largest variance, descending."""
    return _largest(centred(logits).var(axis=0), count)


def most_informative(logits: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """(count,) indices of the columns of (N, K) logits with most information on the labels (N,).

    The criterion is the mutual information of a single column with the labels, estimated from
    nearest neighbours (Ross 2014, scikit-learn). One image per class does not suffice for an
    estimate: the first columns are returned.
    """
    if np.bincount(labels).max() < 2:
        return np.arange(count)
    from sklearn.feature_selection import mutual_info_classif  # takes 0.5 s, rarely needed

    return _largest(mutual_info_classif(centred(logits), labels, random_state=0), count)


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-scores, kind="stable")[:count]
