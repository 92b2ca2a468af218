"""Draws few-shot tasks from data sets."""

from __future__ import annotations

import random
import warnings
from typing import Literal, get_args

import numpy as np

from craft_zoo.counts import checked_whole, counted
from craft_zoo.data.copies import find_copies, warn_of_copies
from craft_zoo.data.task import Dataset, LabelledImages, Task
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.printable import printable
from craft_zoo.seeding import generator

Sampling = Literal["uniform", "coop"]
Fewer = Literal["error", "all", "repeat"]

_MOST_VAL_SHOTS = 4  # per class, as in CoOp's protocol


def few_shot(
    dataset: Dataset,
    shots: int,
    seed: int,
    *,
    sampling: Sampling = "uniform",
    fewer: Fewer = "error",
) -> Task:
    """Draw ``shots`` training images per class without replacement; the test set is not sampled.

    Validation images, min(shots, 4) per class, are drawn from ``dataset.val`` if it exists,
    otherwise from the remaining training images; of a smaller class all of them, or with
    ``fewer="repeat"`` as many with replacement.

    ``sampling="uniform"`` orders the images by class and index. ``sampling="coop"`` draws the same
    images as CoOp (with Dassl) for the same seed and lists, in CoOp's order: classes in order of
    first appearance in the training list (or in the validation list), images in order of drawing.
    For ``@base`` and ``@new``, it draws from all classes and keeps those of the part. This is exact
    for the published splits, and for smaller classes with ``fewer="all"``, as Dassl since October
    2021, or with ``fewer="repeat"``, as Dassl before. It is not exact for validation images of a
    data set without a validation pool, nor for ImageNet, whose folders CoOp lists in the file
    system's order. CoOp interprets seed 0 as no seed.

    Warns if drawn images are equal, of which :func:`craft_zoo.tune` uses one, or if files of test
    images are copies of the drawn images' files, or test images share groups with drawn images.
    Validation and unused images of these groups are left out.

    Args:
        dataset: the data set.
        shots: training images per class.
        seed: the same seed gives the same images.
        sampling: see above.
        fewer: what happens if a class has fewer than ``shots`` images: "error"; "all" uses each of
            them once, without a draw; "repeat" draws ``shots`` of them with replacement.

    Raises:
        CraftZooError: a class has too few training images, or the data set has none; or shots or
            seed are no whole numbers.
    """
    if not isinstance(dataset, Dataset):
        raise CraftZooError(
            f"few_shot draws from a Dataset of craft-zoo, as load_dataset('digits'), not from "
            f"{type(dataset).__name__}: make a Dataset of LabelledImages"
        )
    shots, seed = checked_whole("shots", shots, 1), checked_whole("seed", seed, 0)
    _check(dataset, shots, sampling, fewer)
    coop = random.Random(seed) if sampling == "coop" else None
    whole = dataset if coop is None else dataset.whole or dataset

    def draw(labels: np.ndarray, count: int, purpose: str) -> np.ndarray:
        if coop is None:
            return _each_class(labels, count, generator(seed, purpose), fewer)
        return _each_class_coop(labels, count, coop, fewer)

    chosen = draw(whole.train.labels, shots, "shots")
    train = whole.train.take(chosen)
    left = whole.train.take(np.setdiff1d(np.arange(len(whole.train)), chosen))
    left = left.without_groups_of(train)
    pool = whole.val.without_groups_of(train) if whole.val else left
    unused = left + pool if whole.val else left
    val = pool.take(draw(pool.labels, min(shots, _MOST_VAL_SHOTS), "val"))
    if whole is not dataset:
        kept = [whole.classnames.index(classname) for classname in dataset.classnames]
        train, val, unused = (images.of_classes(kept) for images in (train, val, unused))
    warn_of_copies(train, dataset.name, repeated=fewer == "repeat")
    _warn_of_known(train, dataset)
    return Task(
        dataset.name,
        dataset.classnames,
        train,
        dataset.test,
        val or None,
        dataset.template,
        unused,
    )


def _warn_of_known(train: LabelledImages, dataset: Dataset) -> None:
    """Warn of test images that are copies of drawn training images, or share groups with them."""
    if copies := find_copies(train, dataset.test):
        copy, original = (printable(path) for path in copies[0])
        are = "is a copy" if len(copies) == 1 else "are copies"
        warnings.warn(
            f"{counted(len(copies), 'test image')} {are} of drawn training images of "
            f"{printable(dataset.name)}, such as {copy} of {original}: the accuracy includes them, "
            f"remove one of the two",
            CraftZooWarning,
            stacklevel=3,
        )
    shared = len(dataset.test) - len(dataset.test.without_groups_of(train))
    if shared:
        warnings.warn(
            f"{counted(shared, 'test image')} of {printable(dataset.name)} "
            f"{'shares a group' if shared == 1 else 'share groups'} with drawn training images: "
            f"the accuracy includes them, put each group into one split",
            CraftZooWarning,
            stacklevel=3,
        )


def _check(dataset: Dataset, shots: int, sampling: str, fewer: str) -> None:
    for name, value, choices in (
        ("sampling", sampling, get_args(Sampling)),
        ("fewer", fewer, get_args(Fewer)),
    ):
        if value not in choices:
            raise CraftZooError(f"unknown {name} {value!r}: choose from {', '.join(choices)}")
    if not len(dataset.train):
        raise CraftZooError(
            f"{dataset.name} is only for testing: tune on another data set and give it with "
            f"transfer (--transfer)"
        )
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classnames))
    for label, (classname, count) in enumerate(zip(dataset.classnames, counts, strict=True)):
        if count == 0:
            raise CraftZooError(
                f"class {classname!r} of {dataset.name} has 0 training images, fewer than "
                f"{shots} shots: add images or remove the class"
            )
        if count < shots and fewer == "error":
            tested = np.count_nonzero(dataset.test.labels == label)
            raise CraftZooError(
                f"class {classname!r} of {dataset.name} has {count} training images, fewer "
                f"than {shots} shots (and {tested} test images): add images or lower shots "
                f"(--shots)"
            )


def _each_class(labels: np.ndarray, shots: int, rng: np.random.Generator, fewer: str) -> np.ndarray:
    """(M,) indices of up to ``shots`` images of each class, ordered by class and index."""
    chosen = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        pool = np.flatnonzero(labels == label)
        repeats = fewer == "repeat" and len(pool) < shots
        count = shots if repeats else min(shots, len(pool))
        chosen.append(np.sort(rng.choice(pool, count, replace=repeats)))
    return np.concatenate(chosen)


def _each_class_coop(labels: np.ndarray, shots: int, rng: random.Random, fewer: str) -> np.ndarray:
    """As :func:`_each_class`, with CoOp's draws and order."""
    pools: dict[int, list[int]] = {}
    for index, label in enumerate(labels.tolist()):
        pools.setdefault(label, []).append(index)
    chosen: list[int] = []
    for pool in pools.values():
        if len(pool) >= shots:
            chosen += rng.sample(pool, shots)
        else:
            chosen += rng.choices(pool, k=shots) if fewer == "repeat" else pool
    return np.array(chosen, dtype=np.int64)
