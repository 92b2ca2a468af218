"""Choice of the convex refiner's regularization on a sample of a large task's images."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from craft_zoo.errors import CraftZooWarning
from craft_zoo.refiner.convex import Regularization, features
from craft_zoo.refiner.folds import held_out_folds
from craft_zoo.seeding import generator

LARGE = 2**20  # logits of the largest task of which all are used
_SAMPLE = 2**17  # maximum number of logits of a sample
_IMAGES = 16  # images of each class that a sample may have, for any number of classes

Choice = Callable[
    [np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None], tuple[Regularization, ...]
]


def on_sample_if_large(choose: Choice) -> Choice:
    """A choice of the regularization that uses a sample of a large task.

    A cross-validation over a grid takes time in proportion to images × features × classes. A task
    of more than 2^20 logits, images × classes, is therefore reduced to 2^17, with a warning: first
    to at most 2^17 / C² images of each class, or 16 if that is more, then to a random part of the
    classes, with the logits of these alone.

    The prior of the refiner's weights is that of the sample. The penalty is relative to the mean
    over the images, and refers to features of unit mean squared length, see :class:`Scaling`. It is
    therefore divided by the ratios of the numbers of images and of the mean squared lengths.

    Args:
        choose: a function of logits (N, C), labels (N,), anchor logits (N, M) or None, and groups
            (N,) or None.
    """

    @functools.wraps(choose)
    def chosen(
        logits: np.ndarray,
        labels: np.ndarray,
        anchors: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> tuple[Regularization, ...]:
        # Where nothing can be held out, there is no grid.
        if logits.size <= LARGE or held_out_folds(labels, groups) is None:
            return choose(logits, labels, anchors, groups)
        sample = draw_sample(logits, labels, anchors, groups)
        warnings.warn(
            f"the task has {len(labels):,} images of {logits.shape[1]:,} classes: the refiner's "
            f"regularization is chosen on {len(sample.labels):,} images of "
            f"{sample.logits.shape[1]:,} of them",
            CraftZooWarning,
            stacklevel=1,
        )
        of_sample = choose(sample.logits, sample.labels, sample.anchors, sample.groups)
        factor = sample.penalty_factor
        return tuple(replace(each, penalty=each.penalty * factor) for each in of_sample)

    return chosen


class Sample(NamedTuple):
    """Sample of n images of c classes of a large task of N images.

    Attributes:
        logits: (n, c) of the classes.
        labels: (n,) int64, among the c classes.
        anchors: (n, M) logits of the anchors; None: there are none.
        groups: (n,) see :func:`held_out_folds`; None: the images are unrelated.
        places: index of the (n, c) among (N, C), as from :func:`numpy.ix_`.
        penalty_factor: ratio of the task's penalty to the sample's; see on_sample_if_large.
    """

    logits: np.ndarray
    labels: np.ndarray
    anchors: np.ndarray | None
    groups: np.ndarray | None
    places: tuple[np.ndarray, ...]
    penalty_factor: float


def draw_sample(
    logits: np.ndarray,
    labels: np.ndarray,
    anchors: np.ndarray | None,
    groups: np.ndarray | None = None,
) -> Sample:
    """The sample of a large task; the arguments are those of :func:`on_sample_if_large`."""
    rows, classes = _sample(labels, logits.shape[1])
    places = np.ix_(rows, classes)
    some = None if anchors is None else anchors[rows]
    fewer = len(rows) * _squared_length(logits[places], some)
    factor = fewer / (len(labels) * _squared_length(logits, anchors))
    of_classes = np.searchsorted(classes, labels[rows])
    of_rows = None if groups is None else groups[rows]
    return Sample(logits[places], of_classes, some, of_rows, places, factor)


def _squared_length(logits: np.ndarray, anchors: np.ndarray | None) -> float:
    """Mean squared length of the refiner's features, less their mean."""
    return max(float(features(logits, anchors).var(axis=0).sum()), 1e-12)


def _sample(labels: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images and of the classes of a large task's sample, both ascending."""
    rng = generator(0, "sample of images")
    most = max(_IMAGES, _SAMPLE // n_classes**2)
    of_class = [
        rng.permutation(np.flatnonzero(labels == label))[:most] for label in range(n_classes)
    ]
    mean = sum(map(len, of_class)) / n_classes
    n_kept = min(n_classes, math.isqrt(int(_SAMPLE / mean)))
    classes = np.sort(rng.permutation(n_classes)[:n_kept])
    return np.sort(np.concatenate([of_class[label] for label in classes])), classes
