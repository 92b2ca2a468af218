"""Selection of anchors by their logits on the training images."""

from __future__ import annotations

import numpy as np

from craft_zoo.anchors.anchors import Anchors
from craft_zoo.refiner.convex import centred, features

_RIDGE = 0.1  # penalty of the regression, for features of unit mean squared length


def highest_variance(logits: np.ndarray, count: int) -> np.ndarray:
    """(count,) indices of the columns of (N, K) logits with the largest variance, descending."""
    return _largest(centred(logits).var(axis=0), count)


def most_informative(logits: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """(count,) indices of the columns of (N, K) logits that are most informative of labels (N,).

    The criterion is the mutual information of a single column with the labels, estimated from
    nearest neighbours (Ross 2014, scikit-learn). One image per class does not suffice for an
    estimate: the first columns are returned.
    """
    if np.bincount(labels).max() < 2:
        return np.arange(count)
    from sklearn.feature_selection import mutual_info_classif  # takes 0.5 s, rarely needed

    return _largest(mutual_info_classif(centred(logits), labels, random_state=0), count)


def keep_best(
    anchors: Anchors,
    anchor_logits: np.ndarray,
    logits: np.ndarray,
    labels: np.ndarray,
    count: int | None,
) -> tuple[Anchors, np.ndarray]:
    """Choose the anchors to deploy, see :func:`most_explanatory`.

    Anchors in several prompts are chosen by prompt, each with all of its texts.

    Args:
        anchors: M anchors.
        anchor_logits: (N, M) logits of the anchors.
        logits: (N, C) logits of the classes.
        labels: (N,) int64.
        count: number of anchors to keep, a multiple of the texts if there are several prompts;
            all are kept if it is None, or at least M.

    Returns:
        The anchors that stay, and their logits.
    """
    if count is None or count >= len(anchors):
        return anchors, anchor_logits
    size = 1 if len(anchors.prompts) == 1 else len(anchors.texts)
    columns = np.sort(most_explanatory(anchor_logits, logits, labels, count, size=size))
    if size == 1:
        kept = Anchors(tuple(anchors.texts[column] for column in columns), anchors.prompts)
    else:
        assert isinstance(anchors.prompts, np.ndarray), "anchors have a single template"
        kept = Anchors(anchors.texts, anchors.prompts[columns[::size] // size])
    return kept, anchor_logits[:, columns]


def most_explanatory(
    anchor_logits: np.ndarray, logits: np.ndarray, labels: np.ndarray, count: int, *, size: int = 1
) -> np.ndarray:
    """Indices of the anchors that explain most of the labels, given the logits of the classes.

    Forward selection in a ridge regression of the one-hot labels: each step adds the anchor that
    reduces the penalised squared error most, so of two similar anchors usually one is chosen.

    Args:
        anchor_logits: (N, M) logits of the anchors.
        logits: (N, C) logits of the classes, which the regression has from the start.
        labels: (N,) int64.
        count: number of anchors.
        size: number of neighbouring anchors that are chosen together; ``count`` and M are its
            multiples.

    Returns:
        (count,) indices, in the order of their choice.
    """
    n_classes = logits.shape[1]
    x = features(logits, anchor_logits).astype(np.float64)
    x -= x.mean(axis=0)
    x /= max(float(np.sqrt(np.square(x).sum(axis=1).mean())), 1e-12)
    y = np.eye(n_classes)[labels]
    known, rest = x[:, :n_classes], np.concatenate([x[:, n_classes:], y - y.mean(axis=0)], axis=1)
    # Products of the residuals of anchors and labels after the regression on the chosen features.
    fitted = known.T @ known + _RIDGE * np.eye(n_classes)
    left = rest.T @ rest - rest.T @ known @ np.linalg.solve(fitted, known.T @ rest)
    n_anchors, chosen = anchor_logits.shape[1], list[int]()
    while len(chosen) < count:
        gains = np.square(left[:n_anchors, n_anchors:]).sum(axis=1)
        gains /= _RIDGE + left.diagonal()[:n_anchors]
        gains[chosen] = -1
        first = size * int(gains.reshape(-1, size).sum(axis=1).argmax())
        for column in range(first, first + size):
            chosen.append(column)
            left -= np.outer(left[:, column], left[column] / (_RIDGE + left[column, column]))
    return np.array(chosen, dtype=np.int64)


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-scores, kind="stable")[:count]
