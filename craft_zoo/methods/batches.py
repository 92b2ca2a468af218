"""Batches of augmented training images, for methods whose query scores one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from craft_zoo.data.augment import resized_crops
from craft_zoo.data.images import ImageSource
from craft_zoo.methods.problem import Problem
from craft_zoo.optimizers.option import Option
from craft_zoo.seeding import generator

_CROP = 0.08  # smallest share of an image's area in a view, the default of torchvision and Dassl


def batch_options(size: int) -> tuple[Option, Option]:
    """Settings of a method that :func:`training_batches` reads; by default, batches of ``size``."""
    return (
        Option("batch", int, size, "most images of a query"),
        Option("augmented", bool, True, "whether they are cropped and flipped at random"),
    )


def training_batches(
    problem: Problem, method: str, *, side: int, crop: float = _CROP
) -> Iterator[tuple[Sequence[ImageSource], np.ndarray]]:
    """Images of each batch, in the order of :func:`batches`, and their labels, without end.

    Args:
        problem: the images and labels.
        method: name of a method with :func:`batch_options`.
        side: of a view, in pixels.
        crop: smallest share of an image's area in a view.
    """
    views = generator(problem.seed, f"{method} views")
    order = generator(problem.seed, f"{method} batches")
    own = problem.own_of(method)
    for rows in batches(len(problem.labels), own("batch"), order):
        sources: Sequence[ImageSource] = [problem.images.sources[row] for row in rows]
        if own("augmented"):
            sources = resized_crops(sources, views, side, crop)
        yield sources, problem.labels[rows]


def batches(n: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Indices of the images of each batch, without end.

    Each epoch has a new order. The rest of an epoch that fills no batch is dropped; fewer images
    than a batch make one batch.
    """
    while True:
        order = rng.permutation(n)
        if n < size:
            yield order
        for first in range(0, n - size + 1, size):
            yield order[first : first + size]
