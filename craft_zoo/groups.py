"""Groups of related images, such as photographs of one object, which stay together when divided."""

from __future__ import annotations

import numpy as np


def group_numbers(groups: np.ndarray) -> np.ndarray:
    """(N,) int64 number of each image's group; an image without a group has a number of its own.

    Args:
        groups: (N,) names; "": no group.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    alone = np.flatnonzero(groups == "")
    numbers[alone] = len(names) + np.arange(len(alone))
    return numbers


def groups_of_classes(labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """(C,) number of groups of which each class has images; without groups, of its images.

    Args:
        labels: (N,) int64, the largest is C − 1.
        groups: (N,) as in :func:`group_numbers`; None: no image has one.
    """
    if groups is None:
        return np.bincount(labels)
    pairs = np.unique(np.stack([labels, group_numbers(groups)]), axis=1)
    return np.bincount(pairs[0], minlength=int(labels.max(initial=-1)) + 1)


def divided(labels: np.ndarray, groups: np.ndarray | None, n_parts: int) -> np.ndarray:
    """(N,) int64 index of the part in which each image is; images of a group are in one part.

    The images of each class are spread evenly over the parts, as far as groups allow. A class may
    be in one part only if it shares its groups with other classes, or has a single one.

    Args:
        labels: (N,) int64.
        groups: (N,) as in :func:`group_numbers`; None: no image has one.
        n_parts: number of parts.
    """
    if groups is None:
        by_class = np.argsort(labels, kind="stable")
        counts = np.bincount(labels)
        number_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
        parts = np.empty(len(labels), np.int64)
        parts[by_class] = number_in_class % n_parts
        return parts
    numbers = group_numbers(groups)
    part_of = np.full(numbers.max(initial=-1) + 1, -1)
    counts = groups_of_classes(labels, groups)
    # Classes of few groups come first, as later ones find groups that have their part already.
    for label in np.argsort(counts, kind="stable"):
        of_class, first, sizes = np.unique(
            numbers[labels == label], return_index=True, return_counts=True
        )
        filled = np.zeros(n_parts, np.int64)
        np.add.at(filled, part_of[of_class][part_of[of_class] >= 0], sizes[part_of[of_class] >= 0])
        for place in np.lexsort([first, -sizes]):
            if part_of[of_class[place]] < 0:
                part = filled.argmin()
                part_of[of_class[place]] = part
                filled[part] += sizes[place]
    return part_of[numbers]
