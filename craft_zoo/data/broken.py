"""Finds images that cannot be opened, and removes them from a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from craft_zoo.data.images import BrokenImageError, ImageSource, open_image
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable


def find_broken(
    images: Sequence[ImageSource], progress: Callable[[int], object] | None = None
) -> dict[int, str]:
    """Open every image once, in threads; returns index → sentence for each that cannot be opened.

    Such images are missing, corrupt, truncated or over Pillow's limit for decompression bombs.

    Args:
        images: N image sources.
        progress: called after each image with the number of images opened so far, 1 to N.
    """
    from craft_zoo.threads import in_threads  # imports PyTorch, which loading data does not need

    broken = {}
    for index, fault in enumerate(in_threads(_fault, images)):
        if fault is not None:
            broken[index] = printable(fault)
        if progress is not None:
            progress(index + 1)
    return broken


def _fault(image: ImageSource) -> str | None:
    try:
        open_image(image)
    except BrokenImageError as error:
        return error.fault
    except CraftZooError as error:
        return str(error)
    return None


def without_broken(dataset: Dataset) -> Dataset:
    """The data set without images that cannot be opened; :attr:`Dataset.skipped` lists them.

    Raises:
        CraftZooError: a class has no training or no test image left.
    """
    train, train_faults = _sound(dataset.train)
    test, test_faults = _sound(dataset.test)
    val, val_faults = _sound(dataset.val) if dataset.val is not None else (None, [])
    for before, after, kind in ((dataset.train, train, "training"), (dataset.test, test, "test")):
        lost = np.setdiff1d(before.labels, after.labels)
        if len(lost):
            raise CraftZooError(
                f"class {dataset.classnames[lost[0]]!r} of {dataset.name} has no {kind} image "
                f"that can be read: add some or remove the class"
            )
    return replace(
        dataset,
        train=train,
        test=test,
        val=val if val is not None and len(val) else None,
        skipped=(*dataset.skipped, *train_faults, *val_faults, *test_faults),
    )


def _sound(images: LabelledImages) -> tuple[LabelledImages, list[str]]:
    broken = find_broken(images.images)
    if not broken:
        return images, []
    kept = np.setdiff1d(np.arange(len(images)), list(broken))
    return images.take(kept), list(broken.values())
