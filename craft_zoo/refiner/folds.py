"""Folds of the few shots, which are held out in turn."""

from __future__ import annotations

import numpy as np

_FOLDS = 4

Splits = list[tuple[np.ndarray, np.ndarray]]  # (N,) bool each: images kept, and held out


def held_out_splits(labels: np.ndarray) -> Splits | None:
    """The folds of :func:`held_out_folds` as pairs of (N,) bool: images kept, and held out."""
    folds = held_out_folds(labels)
    if folds is None:
        return None
    return [(folds != fold, folds == fold) for fold in range(folds.max() + 1)]


def folds_leave_one_image(labels: np.ndarray) -> bool:
    """Whether the folds of :func:`held_out_folds` are two, as of two images of each class.

    Classes are then left with one image where they have the fewest.
    """
    folds = held_out_folds(labels)
    return folds is not None and int(folds.max()) == 1


def calibration_splits(labels: np.ndarray) -> Splits | None:
    """The splits of :func:`held_out_splits`, of which two are made four: half of the classes each.

    With two images a class, all classes are left with one otherwise, and a discriminant analysis of
    one image a class has logits of another size than that of two.
    """
    folds = held_out_folds(labels)
    if folds is None or not folds_leave_one_image(labels):
        return held_out_splits(labels)
    halved = folds + 2 * (np.searchsorted(np.unique(labels[folds >= 0]), labels) % 2)
    halved[folds < 0] = -1
    return [(halved != fold, halved == fold) for fold in np.unique(halved[folds >= 0])]


def held_out_folds(labels: np.ndarray) -> np.ndarray | None:
    """(N,) index of the fold in which each image is held out, stratified by class.

    The index is -1 for the only image of a class, which is never held out, since the rest would
    have no image of the class. None if more than half of the classes have a single image: the few
    others would then decide for all.
    """
    counts = np.bincount(labels)
    several = counts[counts > 1]
    if 2 * len(several) < np.count_nonzero(counts):
        return None
    n_folds = min(int(several.min()), _FOLDS)
    folds = np.full(len(labels), -1, dtype=np.int64)
    for label in np.flatnonzero(counts > 1):
        where = np.flatnonzero(labels == label)
        folds[where] = np.arange(len(where)) % n_folds
    return folds
