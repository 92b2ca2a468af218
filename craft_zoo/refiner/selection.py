"""Cross-validation of the convex refiner's regularization on the few shots."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from craft_zoo.refiner.convex import Regularization, Scaling, features, solve_path

_FOLDS = 4
_WHITENINGS = (None, 0.1)
_PENALTIES = [10.0**-k for k in (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5)]
_ONE_SHOT_VARIANCE = 30.0  # maximum; see _one_shot_variance


def choose_regularization(
    logits: np.ndarray, labels: np.ndarray, anchors: np.ndarray | None = None
) -> Regularization:
    """The regularization with the least held-out cross-entropy; min(4, shots) folds.

    Args:
        logits: (N, C) logits of the classes.
        labels: (N,) int64.
        anchors: (N, M) logits of the anchors.
    """
    n_classes = logits.shape[1]
    folds = held_out_folds(labels)
    if folds is None:
        return Regularization(
            1 / (len(labels) * _one_shot_variance(n_classes, anchors is not None))
        )
    x = features(logits, anchors)
    losses = np.zeros((len(_WHITENINGS), len(_PENALTIES)))
    for fold in range(folds.max() + 1):
        kept, held = folds != fold, folds == fold
        for row, whitening in zip(losses, _WHITENINGS, strict=True):
            scaling = Scaling.of(x[kept], labels[kept], n_classes, whitening)
            path = solve_path(scaling(x[kept]), logits[kept], labels[kept], _PENALTIES)
            for column, solution in enumerate(path):
                refined = scaling.refiner(solution)
                row[column] += _loss(
                    x[held] @ refined.weight + refined.bias + logits[held], labels[held]
                )
    best = divmod(int(losses.argmin()), len(_PENALTIES))
    return Regularization(_PENALTIES[best[1]], _WHITENINGS[best[0]])


def _one_shot_variance(n_classes: int, with_anchors: bool) -> float:
    """Prior variance of the weights for one shot per class, where nothing can be held out.

    It is the largest of the tested values (docs/lab-notebook.md) with which tasks of this number of
    classes stayed above zero-shot. Few images, such as two of two classes, do not identify the
    reliable logits.
    """
    if with_anchors:
        return _ONE_SHOT_VARIANCE
    return min(_ONE_SHOT_VARIANCE, n_classes**2 / 10)


def held_out_folds(labels: np.ndarray) -> np.ndarray | None:
    """(N,) index of the fold in which each image is held out, stratified by class.

    None if a class has a single image, since holding it out would leave no image of the class.
    """
    shots = int(np.bincount(labels).min())
    if shots < 2:
        return None
    folds = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        where = np.flatnonzero(labels == label)
        folds[where] = np.arange(len(where)) % min(shots, _FOLDS)
    return folds


def _loss(refined: np.ndarray, labels: np.ndarray) -> float:
    """Cross-entropy summed over the images."""
    return float(
        F.cross_entropy(torch.from_numpy(refined), torch.from_numpy(labels), reduction="sum")
    )
