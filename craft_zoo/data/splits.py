"""Training, validation and test images from the splits of a source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from craft_zoo.data.classnames import readable
from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError
from craft_zoo.groups import divided
from craft_zoo.seeding import generator

_TEST_SHARE = 0.5

# Common name of a split, in lower case → its part.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def find_splits(names: Iterable[str], source: str, mend: str = "keep one for {}") -> dict[str, str]:
    """Map each of ``train``, ``val`` and ``test`` that occurs to its name in the source.

    Args:
        names: names of splits or folders, in upper or lower case.
        source: name of the source in error messages.
        mend: remedy for two names of one part, with a placeholder for the part.

    Raises:
        CraftZooError: two names mean the same part.
    """
    found: dict[str, str] = {}
    for name in names:
        part = SPLIT_NAMES.get(name.lower())
        if part is not None and found.setdefault(part, name) != name:
            raise CraftZooError(
                f"{source} has both {found[part]!r} and {name!r}: {mend.format(part)}"
            )
    return found


def split_meant(name: str) -> str | None:
    """The part that a folder's name speaks of, as ``train_set`` and ``seg_train``; None: none."""
    words = re.findall("[a-z]+", readable(name))
    parts = {SPLIT_NAMES.get(word.removesuffix("set")) for word in words} - {None}
    return parts.pop() if len(parts) == 1 else None


def three_splits(
    found: Mapping[str, LabelledImages], classes: Sequence[str], seed: int
) -> tuple[LabelledImages, LabelledImages | None, LabelledImages]:
    """Training, validation and test images from the splits of a source.

    Without test images, the validation images are used for testing; without these, a random half
    of the training images of each class. The result has no training images if the source has none.

    Args:
        found: ``train``, ``val`` and ``test``, or some of them.
        classes: names of the classes for error messages.
        seed: seed of the random halves.

    Raises:
        CraftZooError: a class to be halved has only one image.
    """
    train = found.get("train", LabelledImages([], np.empty(0, np.int64)))
    if "test" in found:
        return train, found.get("val"), found["test"]
    if "val" in found:
        return train, None, found["val"]
    train, test = _halve(train, classes, seed)
    return train, None, test


def _halve(
    images: LabelledImages, classes: Sequence[str], seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images, each ordered by class."""
    rng = generator(seed, "split")
    if images.groups is not None:
        return _halve_groups(images, images.groups, classes, rng)
    train, test = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for label, name in enumerate(classes):
        pool = np.flatnonzero(images.labels == label)
        if len(pool) == 1:
            raise CraftZooError(
                f"class {name!r} has one image, too few to split into training and test: add images"
            )
        order = rng.permutation(len(pool))
        n_test = int(len(pool) * _TEST_SHARE)
        test.append(pool[np.sort(order[:n_test])])
        train.append(pool[np.sort(order[n_test:])])
    return images.take(np.concatenate(train)), images.take(np.concatenate(test))


def _halve_groups(
    images: LabelledImages, groups: np.ndarray, classes: Sequence[str], rng: np.random.Generator
) -> tuple[LabelledImages, LabelledImages]:
    """As :func:`_halve`, with the images of each group in one of the two."""
    order = rng.permutation(len(images))
    parts = np.empty(len(images), np.int64)
    parts[order] = divided(images.labels[order], groups[order], 2)
    for label, name in enumerate(classes):
        if len(np.unique(parts[images.labels == label])) < 2:
            raise CraftZooError(
                f"class {name!r} has images of too few groups to split into training and test: add "
                f"a column split, or images of other groups"
            )
    by_class = np.argsort(images.labels, kind="stable")
    train, test = (images.take(by_class[parts[by_class] == part]) for part in (0, 1))
    return train, test
