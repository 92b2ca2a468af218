"""Finds images that look like versions of training images, as flipped or cropped ones."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from craft_zoo.counts import counted
from craft_zoo.data.copies import shown
from craft_zoo.data.images import ImageSource, open_image, reading
from craft_zoo.data.pixels import as_rgb
from craft_zoo.data.task import LabelledImages, Task
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.printable import printable
from craft_zoo.threads import in_threads

_SIZE = 8  # pixels of a thumbnail's side
_ALIKE = 0.98  # correlation of the thumbnails of two versions
_SHARE = 0.1  # of the images that have a version, from which it is warned
_MOST = 64  # images that are compared, in whole classes: large files take 0.2 s each


def warn_of_versions(task: Task) -> None:
    """Warn of versions of training images, among these and among the test images.

    Thumbnails of 8 × 8 pixels are compared, also rotated and flipped, within each class. Of
    unrelated images, 0 to 1.5 % have a version by this rule in four data sets, of series of
    photographs a third and of flipped images all (docs/lab-notebook.md); a tenth is warned of. Of
    many images, those of the first classes are compared. Two images that both have a group do not
    count: X-rays, or photographs of one product in one pose, may look alike and be unrelated.
    """
    train, test, name = _FirstClasses(task.train), _FirstClasses(task.test), printable(task.name)
    if pairs := _versions(train, train):
        _warn(
            f"{len(pairs):,} of {counted(len(train), 'compared training image')} of {name} look "
            f"like versions of another ({pairs[0]}), as in a series of photographs: give related "
            f"images a common group (a table's column group, or groups in Python), or the "
            f"estimated accuracy and the probabilities are too high"
        )
    if pairs := _versions(test, train):
        _warn(
            f"{len(pairs):,} of {counted(len(test), 'compared test image')} of {name} look like "
            f"versions of training images ({pairs[0]}): put related images into one split, or give "
            f"them a common group in a table without splits, or their accuracy is too high"
        )


def _warn(words: str) -> None:
    warnings.warn(words, CraftZooWarning, stacklevel=4)


class _FirstClasses:
    """The images of the first classes and their thumbnails.

    Attributes:
        places: (n,) ascending places among all images.
        images: the images.
        thumbnails: (n, 8, 8, 3).
        has_group: (n,) bool.
    """

    def __init__(self, images: LabelledImages) -> None:
        places = [np.zeros(0, np.int64)]
        for label in np.unique(images.labels):
            of_class = np.flatnonzero(images.labels == label)[:_MOST]
            if sum(map(len, places)) + len(of_class) > _MOST:
                break
            places.append(of_class)
        self._all, self.places = images, np.sort(np.concatenate(places))
        self.images = images.take(self.places)
        self.thumbnails = np.array(list(in_threads(_thumbnail, self.images.images)))
        groups = self.images.groups
        self.has_group = np.zeros(len(self), bool) if groups is None else groups != ""

    def __len__(self) -> int:
        return len(self.places)

    def shown(self, place: int) -> str:
        """Name of an image for messages."""
        return shown(self._all, int(self.places[place]))


def _versions(some: _FirstClasses, others: _FirstClasses) -> list[str]:
    """Sentence for each image that looks like another of its class; none if they are few."""
    if not len(some) or not len(others):
        return []
    flat = _normalised(some.thumbnails)
    correlation = np.max(
        [flat @ _normalised(each).T for each in _symmetries(others.thumbnails)], axis=0
    )
    # Of two images with groups it is said whether they are related.
    correlation[some.has_group[:, None] & others.has_group] = 0
    correlation[some.images.labels[:, None] != others.images.labels] = 0
    if some is others:
        np.fill_diagonal(correlation, 0)
    found = np.flatnonzero(correlation.max(axis=1) > _ALIKE)
    if len(found) < max(2, _SHARE * len(some)):
        return []
    best = correlation.argmax(axis=1)
    return [f"{some.shown(each)} of {others.shown(best[each])}" for each in found.tolist()]


def _thumbnail(image: ImageSource) -> np.ndarray:
    """(8, 8, 3); zeros for an image that cannot be read."""
    with suppress(CraftZooError, OSError, ValueError):
        return np.asarray(_small(image).resize((_SIZE, _SIZE), Image.Resampling.BOX), np.float64)
    return np.zeros((_SIZE, _SIZE, 3))


def _small(image: ImageSource) -> Image.Image:
    if not isinstance(image, str | Path):
        return open_image(image)
    with reading(image), Image.open(image) as opened:
        opened.draft(None, (8 * _SIZE, 8 * _SIZE))  # a large JPEG is decoded at an eighth
        return as_rgb(opened, image)


def _symmetries(thumbnails: np.ndarray) -> list[np.ndarray]:
    """The thumbnails in the eight ways in which a square can be rotated and flipped."""
    rotated = [np.rot90(thumbnails, turns, axes=(1, 2)) for turns in range(4)]
    return [*rotated, *(each[:, :, ::-1] for each in rotated)]


def _normalised(thumbnails: np.ndarray) -> np.ndarray:
    """(n, 192) of unit length, each colour less its mean; 0 for an image of one colour."""
    flat = (thumbnails - thumbnails.mean(axis=(1, 2), keepdims=True)).reshape(len(thumbnails), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
