"""Batches of augmented training images, for methods whose query scores one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from craft_zoo.data.augment import resized_crops
from craft_zoo.data.images import ImageSource
from craft_zoo.methods.base import Problem


def training_batches(
    problem: Problem,
    order: np.random.Generator,
    views: np.random.Generator | None,
    *,
    size: int,
    side: int,
    crop: float,
) -> Iterator[tuple[Sequence[ImageSource], np.ndarray]]:
    """Images of each batch, at most ``size``, and their labels, without end.

    Args:
        problem: the images and labels.
        order: source of the order of the images, see :func:`batches`.
        views: source of random crops and flips; None: the images are passed as they are.
        size: maximum number of images in a batch.
        side: of a view, in pixels.
        crop: smallest share of an image's area in a view.
    """
    for rows in batches(len(problem.labels), size, order):
        sources: Sequence[ImageSource] = [problem.images.sources[row] for row in rows]
        if views is not None:
            sources = resized_crops(sources, views, side, crop)
        yield sources, problem.labels[rows]


def batches(n: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Indices of the images of each batch, without end.

    Each epoch has a new order. What is left of it behind whole batches is dropped; fewer images
    than a batch are one.
    """
    while True:
        order = rng.permutation(n)
        if n < size:
            yield order
        for first in range(0, n - size + 1, size):
            yield order[first : first + size]
