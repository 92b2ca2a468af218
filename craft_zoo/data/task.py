"""Data sets and the few-shot tasks drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.seeding import generator


@dataclass(frozen=True)
class LabelledImages:
    """N image sources and their labels.

    Attributes:
        images: N paths, PIL images or arrays.
        labels: (N,) int64, each in [0, number of classes).
    """

    images: Sequence[ImageSource]
    labels: np.ndarray

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise CraftZooError(
                f"{len(self.images)} images came with {len(self.labels)} labels: "
                f"give one label each"
            )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> LabelledImages:
        """The images at ``indices``, in that order."""
        return LabelledImages([self.images[i] for i in indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """Class names, a pool of training images and the test images.

    Attributes:
        name: for people.
        classnames: C names in words.
        train: that few shots are drawn from; none where it is only for testing.
        test: that accuracy is measured on.
        val: a pool of its own for choices, where the data set has one.
        template: its hand-written prompt, as in "a photo of a {}, a type of pet."; None: it has
            none.
        skipped: what was left out as broken, one sentence each.
    """

    name: str
    classnames: tuple[str, ...]
    train: LabelledImages
    test: LabelledImages
    val: LabelledImages | None = None
    template: str | None = None
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        repeated = {name for name in self.classnames if self.classnames.count(name) > 1}
        if repeated:
            raise CraftZooError(
                f"data set {self.name} has the class name {sorted(repeated)[0]!r} twice: "
                f"give distinct names with --classnames FILE"
            )


@dataclass(frozen=True)
class Task:
    """Class names, few-shot training images and test images: what one run adapts to.

    Attributes:
        name: of the data set.
        classnames: C names in words.
        train: the few shots.
        test: all test images.
        val: up to min(shots, 4) images a class to choose by, none of them among the others.
        template: see :class:`Dataset`.
    """

    name: str
    classnames: tuple[str, ...]
    train: LabelledImages
    test: LabelledImages
    val: LabelledImages | None = None
    template: str | None = None


def few_shot(dataset: Dataset, shots: int, seed: int) -> Task:
    """Draw ``shots`` training images a class without replacement; the test set stays whole.

    Raises:
        CraftZooError: a class has fewer training images than ``shots``.
    """
    if shots < 1:
        raise CraftZooError(f"shots must be at least 1, not {shots}")
    rng = generator(seed, "shots")
    chosen = []
    for label, classname in enumerate(dataset.classnames):
        pool = np.flatnonzero(dataset.train.labels == label)
        if len(pool) < shots:
            raise CraftZooError(
                f"class {classname!r} of {dataset.name} has {len(pool)} training images, "
                f"fewer than {shots} shots: add images or lower --shots"
            )
        chosen.append(np.sort(rng.choice(pool, shots, replace=False)))
    train = dataset.train.take(np.concatenate(chosen))
    return Task(dataset.name, dataset.classnames, train, dataset.test)
