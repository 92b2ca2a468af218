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
    be in one part only if it shares its groups with other classes, which is avoided, or has a
    single one.

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
    numbers, counts = group_numbers(groups), groups_of_classes(labels, groups)
    (of_pair, classes), sizes = np.unique(
        np.stack([numbers, labels]), axis=1, return_counts=True
    )  # pairs of a group and a class, by group
    starts = np.searchsorted(of_pair, np.arange(numbers.max(initial=-1) + 2))
    part_of = np.full(len(starts) - 1, -1)
    filled = np.zeros((len(counts), n_parts), np.int64)  # images of each class
    totals = np.bincount(labels)[:, None]
    # Classes of few groups come first, as later ones find groups that have their part already.
    for label in np.argsort(counts, kind="stable"):
        of_class, first, n_images = np.unique(
            numbers[labels == label], return_index=True, return_counts=True
        )
        for place in np.lexsort([first, -n_images]):
            group = of_class[place]
            if part_of[group] < 0:
                pairs = slice(starts[group], starts[group + 1])
                before = filled[classes[pairs]] / totals[classes[pairs]]
                # The part that the fewest of the group's classes have images in, or fewer images.
                part = ((before > 0).sum(axis=0) + before.mean(axis=0) / 2).argmin()
                part_of[group] = part
                filled[classes[pairs], part] += sizes[pairs]
    return part_of[numbers]
