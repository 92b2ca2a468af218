"""Broken parts of data sets: images that cannot be opened, rows without labels and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from craft_zoo.data.image_files import LeftOut, say_left_out
from craft_zoo.data.images import BrokenImageError, ImageSource, open_image
from craft_zoo.data.task import Dataset
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable


@dataclass
class SkippedParts:
    """Broken parts and unused files of a source.

    Attributes:
        skip: whether broken parts are skipped instead of raising an error.
        found: one sentence for each skipped part.
        files: other files that are not used, which are no errors.
    """

    skip: bool
    found: list[str] = field(default_factory=list)
    files: list[LeftOut] = field(default_factory=list)

    def add(self, fault: str, mend: str) -> None:
        """Record ``fault``; the caller skips the part.

        Raises:
            CraftZooError: ``skip`` is false; the message has the remedy ``mend``.
        """
        if not self.skip:
            raise CraftZooError(f"{fault}: {mend} or add skip_bad=True (--skip-bad)")
        self.found.append(fault)

    def sentences(self) -> tuple[str, ...]:
        """Sentences for :attr:`Dataset.skipped`, broken parts first."""
        return (*self.found, *say_left_out(self.files))


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
    faults = [find_broken(part.images) if part else {} for part in dataset.parts]
    return without_images(dataset, faults, "that can be read: add some or remove the class")


def without_images(dataset: Dataset, faults: Sequence[dict[int, str]], rest: str) -> Dataset:
    """The data set without faulty images; :attr:`Dataset.skipped` names them.

    Args:
        dataset: training, validation and test images.
        faults: for each of :attr:`Dataset.parts`, index → a sentence.
        rest: end of the error message "class … has no test image …".

    Raises:
        CraftZooError: a class has no training or no test image left.
    """
    train, val, test = (
        part.take(np.setdiff1d(np.arange(len(part)), list(bad))) if part and bad else part
        for part, bad in zip(dataset.parts, faults, strict=True)
    )
    assert train is not None
    assert test is not None
    for before, after, kind in ((dataset.train, train, "training"), (dataset.test, test, "test")):
        lost = np.setdiff1d(before.labels, after.labels)
        if len(lost):
            name = dataset.classnames[lost[0]]
            raise CraftZooError(f"class {name!r} of {dataset.name} has no {kind} image {rest}")
    skipped = (*dataset.skipped, *(sentence for bad in faults for sentence in bad.values()))
    return replace(dataset, train=train, test=test, val=val or None, skipped=skipped)
