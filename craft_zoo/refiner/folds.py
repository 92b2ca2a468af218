"""Folds of the few shots, which are held out in turn."""

from __future__ import annotations

import numpy as np

from craft_zoo.groups import divided, group_numbers, groups_of_classes

_FOLDS = 4

Splits = list[tuple[np.ndarray, np.ndarray]]  # (N,) bool each: images kept, and held out


def held_out_splits(labels: np.ndarray, groups: np.ndarray | None = None) -> Splits | None:
    """The folds of :func:`held_out_folds` as pairs of (N,) bool: images kept, and held out."""
    folds = held_out_folds(labels, groups)
    return None if folds is None else _splits(folds)


def _splits(folds: np.ndarray) -> Splits:
    return [(folds != fold, folds == fold) for fold in range(folds.max() + 1)]


def folds_leave_one_image(labels: np.ndarray, groups: np.ndarray | None = None) -> bool:
    """Whether the folds of :func:`held_out_folds` are two, as of two images of each class.

    Classes are then left with one image, or group, where they have the fewest.
    """
    folds = held_out_folds(labels, groups)
    return folds is not None and int(folds.max()) == 1


def calibration_splits(labels: np.ndarray, groups: np.ndarray | None = None) -> Splits | None:
    """The splits of :func:`held_out_splits`, of which two are made four: half of the classes each.

    With two images a class, all classes are left with one otherwise, and a discriminant analysis of
    one image a class has logits of another size than that of two.
    """
    folds = held_out_folds(labels, groups)
    if folds is None:
        return None
    if folds.max() > 1:
        return _splits(folds)
    halved = folds + 2 * (np.searchsorted(np.unique(labels[folds >= 0]), labels) % 2)
    halved[folds < 0] = -1
    numbers = np.arange(len(labels)) if groups is None else group_numbers(groups)
    every = [halved == fold for fold in np.unique(halved[folds >= 0])]
    return [(~np.isin(numbers, numbers[held]), held) for held in every]


def held_out_folds(labels: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray | None:
    """(N,) index of the fold in which each image is held out, stratified by class.

    The index is -1 for the only image, or group, of a class, which is never held out, since the
    rest would have no image of the class; images of other classes are not held out if they are of
    such a group. None if more than half of the classes have no other images: the few others would
    then decide for all.

    Args:
        labels: (N,) int64.
        groups: (N,) group of each image, see :class:`craft_zoo.data.LabelledImages`; a group is in
            one fold. None: the images are unrelated.
    """
    counts = groups_of_classes(labels, groups)
    several = counts[counts > 1]
    if 2 * len(several) < np.count_nonzero(counts):
        return None
    folds = divided(labels, groups, min(int(several.min()), _FOLDS))
    least, most = np.full(len(counts), _FOLDS), np.zeros(len(counts), np.int64)
    np.minimum.at(least, labels, folds)
    np.maximum.at(most, labels, folds)
    kept = (least == most)[labels]
    if groups is not None:
        numbers = group_numbers(groups)
        kept = np.isin(numbers, numbers[kept])
    folds[kept] = -1
    found = np.unique(folds[folds >= 0])
    if len(found) < 2 or 2 * len(np.unique(labels[folds >= 0])) < np.count_nonzero(counts):
        return None
    return np.where(folds < 0, -1, np.searchsorted(found, folds))
