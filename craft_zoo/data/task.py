"""Types for data sets and for the few-shot tasks drawn from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from craft_zoo.data.images import ImageSource, as_images
from craft_zoo.data.labels import as_groups
from craft_zoo.data.naming import check_ordered, reads_as
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable


@dataclass(frozen=True, repr=False)
class LabelledImages:
    """N image sources and their labels.

    Attributes:
        images: N paths, PIL images or arrays, as :func:`craft_zoo.data.images.as_images` takes
            them.
        labels: (N,) int64, each in [0, number of classes); other whole numbers are converted.
        groups: (N,) names of what each image shows or comes from, such as a patient, an object or
            a video, and "" for an image that is related to no other; None: none are related, also
            if all are "". While an image of a group is held out, the others of the group are too.

    Raises:
        CraftZooError: labels are no whole numbers from 0, or labels or groups are not one for each
            image, or a group cannot be read.
    """

    images: Sequence[ImageSource]
    labels: np.ndarray
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.images, Sequence):
            # A column of a table in another order would be looked up by its index, not by place.
            given = as_images(self.images) if getattr(self.images, "size", 1) else []
            object.__setattr__(self, "images", given)
        labels = np.asarray(self.labels)
        whole = labels.dtype.kind in "iu" or not labels.size
        if not whole or labels.ndim != 1 or (labels < 0).any():
            raise CraftZooError(
                f"labels must be whole numbers from 0, places in the class names, one for each "
                f"image, not an array {labels.shape} of {labels.dtype} with "
                f"{printable(str(labels.ravel()[:1].tolist())[1:-1])}: convert them"
            )
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        if len(self.images) != len(self.labels):
            raise CraftZooError(
                f"{len(self.images)} images came with {len(self.labels)} labels: "
                f"give one label each"
            )
        if self.groups is not None:
            groups = as_groups(self.groups, len(self.images))
            object.__setattr__(self, "groups", groups if (groups != "").any() else None)

    @classmethod
    def by_class(
        cls, images: Mapping[str, Sequence[ImageSource]], classes: Sequence[str]
    ) -> LabelledImages:
        """The images of each class, labelled by its index in ``classes``, in their order."""
        counts = [len(images.get(name, ())) for name in classes]
        every = [image for name in classes for image in images.get(name, ())]
        return cls(every, np.repeat(np.arange(len(classes), dtype=np.int64), counts))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"<{len(self):,} labelled images>"

    @cached_property
    def files_by_size(self) -> dict[int, list[Path]]:
        """The images that are files, by size in bytes; looked up once, as each draw needs them."""
        sizes = defaultdict(list)
        for image in self.images:
            if isinstance(image, str | Path):
                with suppress(OSError, ValueError):
                    sizes[Path(image).stat().st_size].append(Path(image))
        return sizes

    def take(self, indices: np.ndarray) -> LabelledImages:
        """The images at ``indices``, in that order."""
        groups = None if self.groups is None else self.groups[indices]
        return LabelledImages([self.images[i] for i in indices], self.labels[indices], groups)

    def __add__(self, other: LabelledImages) -> LabelledImages:
        labels = np.concatenate([self.labels, other.labels])
        groups = None
        if self.groups is not None or other.groups is not None:
            groups = np.concatenate(
                [
                    np.full(len(each), "") if each.groups is None else each.groups
                    for each in (self, other)
                ]
            )
        return LabelledImages([*self.images, *other.images], labels, groups)

    def of_classes(self, labels: Sequence[int]) -> LabelledImages:
        """The images of some classes, in their order; ``labels[i]`` becomes label i."""
        kept = self.take(np.flatnonzero(np.isin(self.labels, labels)))
        new = {label: i for i, label in enumerate(labels)}
        relabelled = [new[label] for label in kept.labels.tolist()]
        return LabelledImages(kept.images, np.array(relabelled, dtype=np.int64), kept.groups)

    def without_groups_of(self, other: LabelledImages) -> LabelledImages:
        """The images without those of the other images' groups."""
        if self.groups is None or other.groups is None:
            return self
        known = np.isin(self.groups, other.groups) & (self.groups != "")
        return self.take(np.flatnonzero(~known)) if known.any() else self


@dataclass(frozen=True, repr=False)
class Dataset:
    """Class names, a pool of training images and the test images.

    Attributes:
        name: display name.
        classnames: C names in words.
        train: pool from which shots are drawn; empty if the data set is only for testing.
        test: images on which accuracy is measured.
        val: separate pool for choosing settings; None: there is none.
        template: its hand-written prompt, as in "a photo of a {}, a type of pet."; None: it has
            none.
        skipped: a sentence for each skipped image, folder or row, and one for each suffix of files
            that are not images.
        whole: the complete data set, if this is a part of its classes, see
            :func:`craft_zoo.data.part_of`; None: this is complete.
    """

    name: str
    classnames: tuple[str, ...]
    train: LabelledImages
    test: LabelledImages
    val: LabelledImages | None = None
    template: str | None = None
    skipped: tuple[str, ...] = ()
    whole: Dataset | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check(self)
        seen: dict[str, str] = {}
        for name in self.classnames:
            read = reads_as(name)
            other = seen.get(read)
            twice = "" if other == name else f", as {other!r} too"
            if not read or other is not None:
                fault = f"the class name {name!r} twice{twice}" if read else "a class without words"
                raise CraftZooError(
                    f"data set {printable(self.name)} has {fault}: "
                    f"give distinct names with classnames (--classnames FILE)"
                )
            seen[read] = name

    @property
    def parts(self) -> tuple[LabelledImages, LabelledImages | None, LabelledImages]:
        """Training, validation and test images."""
        return self.train, self.val, self.test

    def __repr__(self) -> str:
        return _described(self)


@dataclass(frozen=True, repr=False)
class Task:
    """Class names, few-shot training images and test images, to which a run adapts a model.

    Attributes:
        name: name of the data set.
        classnames: C names in words.
        train: the few shots.
        test: all test images.
        val: up to min(shots, 4) images per class for choosing settings, in neither train nor test.
        template: see :class:`Dataset`.
        unused: the other labelled images: the rest of the training images, and the validation
            images. Accuracy may be estimated on them, see :mod:`craft_zoo.estimate`.
    """

    name: str
    classnames: tuple[str, ...]
    train: LabelledImages
    test: LabelledImages
    val: LabelledImages | None = None
    template: str | None = None
    unused: LabelledImages | None = None

    def __post_init__(self) -> None:
        _check(self)

    def __repr__(self) -> str:
        return _described(self)


def _check(data: Dataset | Task) -> None:
    check_ordered(data.classnames, "class names")
    object.__setattr__(data, "classnames", tuple(data.classnames))
    for images in (data.train, data.val, data.test):
        if images is not None and len(images) and images.labels.max() >= len(data.classnames):
            raise CraftZooError(
                f"data set {printable(data.name)} has the label {images.labels.max()} and "
                f"{len(data.classnames)} classes: number labels from 0 in the order of the class "
                f"names"
            )


def _described(data: Dataset | Task) -> str:
    val = "" if data.val is None else f"{len(data.val):,} validation, "
    return (
        f"<{type(data).__name__} {data.name!r}: {len(data.classnames):,} classes, "
        f"{len(data.train):,} training, {val}{len(data.test):,} test images>"
    )
