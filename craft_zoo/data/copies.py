"""Finds images that are copies of others, which would be held out, or tested on, beside them."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from craft_zoo.counts import counted
from craft_zoo.data.images import DerivedImage, ImageSource, content_key, hash_content
from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.printable import printable


def distinct(images: LabelledImages) -> LabelledImages:
    """The images without those that are equal to an earlier one of their class.

    A copy would be held out beside its original, so that every held-out image seems to be known.
    """
    copies, _ = _equal(images)
    if not copies:
        return images
    return images.take(np.setdiff1d(np.arange(len(images)), [copy for copy, _ in copies]))


def warn_of_copies(images: LabelledImages, name: str, *, repeated: bool = False) -> None:
    """Warn of equal images.

    Args:
        images: the training images.
        name: the data set's name.
        repeated: whether images were drawn repeatedly, of which is not warned.
    """
    same, others = _equal(images)
    if same and not repeated:
        _warn(images, same, name, "of the same class: tune uses one of them and a bench all")
    if others:
        _warn(images, others, name, "of another class: remove the wrong ones")


def _warn(images: LabelledImages, pairs: list[tuple[int, int]], name: str, which: str) -> None:
    one, other = (shown(images, place) for place in pairs[0])
    are = "is a copy" if len(pairs) == 1 else "are copies"
    warnings.warn(
        f"{len(pairs):,} of {counted(len(images), 'training image')} of {printable(name)} {are} of "
        f"images {which} (for instance {one}, equal to {other})",
        CraftZooWarning,
        stacklevel=4,
    )


def shown(images: LabelledImages, place: int) -> str:
    """The path or name of an image for a message, or its place."""
    image = images.images[place]
    name = image.name() if isinstance(image, DerivedImage) else image
    return printable(name) if isinstance(name, str | Path) else f"image {place}"


_Pairs = list[tuple[int, int]]


def _equal(images: LabelledImages) -> tuple[_Pairs, _Pairs]:
    """Places of images that are equal to an earlier one, with that one's: of its class, of others.

    The earlier one is the first of all that are equal.
    """
    first: dict[bytes, int] = {}
    same: _Pairs = []
    others: _Pairs = []
    for place, key in enumerate(_contents(images.images)):
        if key is not None and (original := first.setdefault(key, place)) != place:
            of_one = images.labels[place] == images.labels[original]
            (same if of_one else others).append((place, original))
    return same, others


def without_known(images: LabelledImages, known: LabelledImages) -> LabelledImages:
    """The images that are equal to none of the known ones, and of none of their groups."""
    images = images.without_groups_of(known)
    keys = _contents([*known.images, *images.images])
    seen = set(keys[: len(known)]) - {None}
    new = [key not in seen for key in keys[len(known) :]]
    return images if all(new) else images.take(np.flatnonzero(new))


def _contents(images: Sequence[ImageSource]) -> list[bytes | None]:
    """Keys that are equal for equal images; None for files that no other equals in size.

    None also for images that cannot be read.
    """
    sizes = [_size(image) for image in images]
    counts = Counter(sizes)
    return [
        None if size is not None and counts[size] == 1 else _key(image)
        for image, size in zip(images, sizes, strict=True)
    ]


def _size(image: ImageSource) -> int | None:
    """Bytes of a file, negative if it cannot be read; None for an image that is no file."""
    if not isinstance(image, str | Path):
        return None
    try:
        return os.stat(image).st_size
    except (OSError, ValueError):
        return -1


def _key(image: ImageSource) -> bytes | None:
    with suppress(CraftZooError, OSError, ValueError):
        if isinstance(image, str | Path):  # equal files are equal images
            return hash_content("file", Path(image).read_bytes())
        return content_key(image)
    return None


def find_copies(train: LabelledImages, test: LabelledImages) -> list[tuple[Path, Path]]:
    """Pairs of a test image's file and a training image's file with the same content.

    Only files of the same size are read. Images that are not files, or cannot be read, are passed
    over.
    """
    trained, tested = train.files_by_size, test.files_by_size
    pairs = []
    for size in sorted(trained.keys() & tested.keys()):
        known = {_key(path): path for path in trained[size]}
        known.pop(None, None)  # those that cannot be read
        pairs += [(path, known[key]) for path in tested[size] if (key := _key(path)) in known]
    return pairs
