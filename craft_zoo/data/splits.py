"""Training, validation and test images, from the splits that a source has or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError
from craft_zoo.seeding import generator

_TEST_SHARE = 0.5

# What people call a split, in small letters → what it is for.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def find_splits(names: Iterable[str], source: str, mend: str = "keep one for {}") -> dict[str, str]:
    """``train``, ``val`` and ``test`` → the name that means it, of those that are there.

    Args:
        names: of splits, folders or what else may be called so, in any letters.
        source: what to call their source in an error.
        mend: what to do about two names for one, with a place for what these are for.

    Raises:
        CraftZooError: two names mean the same.
    """
    found: dict[str, str] = {}
    for name in names:
        part = SPLIT_NAMES.get(name.lower())
        if part is not None and found.setdefault(part, name) != name:
            raise CraftZooError(
                f"{source} has both {found[part]!r} and {name!r}: {mend.format(part)}"
            )
    return found


def halve(
    images: LabelledImages, classes: Sequence[str], seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Halve each class at random, the same way for the same seed; both halves by class.

    Args:
        images: of all splits.
        classes: what to call each class in an error.
        seed: of the split.

    Returns:
        Training images and test images.

    Raises:
        CraftZooError: a class has one image.
    """
    rng = generator(seed, "split")
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


def three_splits(
    found: Mapping[str, LabelledImages], classes: Sequence[str], seed: int
) -> tuple[LabelledImages, LabelledImages | None, LabelledImages]:
    """Training, validation and test images from what a source has of them.

    Without test images the validation images are for testing; without these, one half of each
    class of the training images. Without training images there are none.

    Args:
        found: ``train``, ``val`` and ``test``, or some of them.
        classes: see :func:`halve`.
        seed: see :func:`halve`.

    Raises:
        CraftZooError: see :func:`halve`.
    """
    train = found.get("train", LabelledImages([], np.empty(0, np.int64)))
    if "test" in found:
        return train, found.get("val"), found["test"]
    if "val" in found:
        return train, None, found["val"]
    train, test = halve(train, classes, seed)
    return train, None, test
