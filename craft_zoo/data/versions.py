"""Finds training images that look like versions of one another, as flipped or cropped ones."""

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
from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.groups import group_numbers
from craft_zoo.printable import printable

_SIZE = 8  # pixels of a thumbnail's side
_ALIKE = 0.98  # correlation of the thumbnails of two versions
_SHARE = 0.1  # of the images that have a version, from which it is warned
_MOST = 128  # images that are looked at, in whole classes


def warn_of_versions(images: LabelledImages, name: str) -> None:
    """Warn if many images look like versions of another one of their class but of no common group.

    Thumbnails of 8 × 8 pixels are compared, also rotated and flipped. Of unrelated images of one
    class, 0 to 1.5 % have a version by this rule in four data sets, of series of photographs a
    third and of flipped images all (docs/lab-notebook.md).

    Args:
        images: the training images; of many, the first classes are looked at.
        name: the data set's name.
    """
    chosen = _first_classes(images.labels)
    looked = images.take(chosen)
    pairs = _alike(looked)
    if len(pairs) < 2 or len(pairs) < _SHARE * len(looked):
        return
    one, other = (shown(images, chosen[place]) for place in pairs[0])
    some = "" if len(looked) == len(images) else " that were looked at"
    warnings.warn(
        f"{len(pairs):,} of {counted(len(looked), 'training image')} of {printable(name)}{some} "
        f"look like versions of another (for instance {one} and {other}), as in a series of "
        f"photographs: give related images a common group (a table's column group, or groups in "
        f"Python), or the estimated accuracy and the probabilities are too high",
        CraftZooWarning,
        stacklevel=3,
    )


def _first_classes(labels: np.ndarray) -> np.ndarray:
    """Ascending indices of the images of the first classes."""
    chosen: list[np.ndarray] = []
    for label in np.unique(labels):
        where = np.flatnonzero(labels == label)[:_MOST]
        if sum(map(len, chosen)) + len(where) > _MOST:
            break
        chosen.append(where)
    return np.sort(np.concatenate(chosen))


def _alike(images: LabelledImages) -> list[tuple[int, int]]:
    """Places of the images that look like another of their class, with that one's."""
    thumbnails = np.stack([_thumbnail(image) for image in images.images])
    flat = _normalised(thumbnails)
    correlation = np.max([flat @ _normalised(each).T for each in _symmetries(thumbnails)], axis=0)
    numbers = np.arange(len(images)) if images.groups is None else group_numbers(images.groups)
    related = numbers[:, None] == numbers
    correlation[related | (images.labels[:, None] != images.labels)] = 0
    best = correlation.argmax(axis=1)
    return [
        (place, int(other))
        for place, other in enumerate(best)
        if correlation[place, other] > _ALIKE
    ]


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
    """(N, 192) of unit length, each colour less its mean; 0 for an image of one colour."""
    flat = (thumbnails - thumbnails.mean(axis=(1, 2), keepdims=True)).reshape(len(thumbnails), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
