"""Image augmentation with which CraFT's authors train the refiner."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from craft_zoo.data.images import DerivedImage, ImageSource, content_key, image_size, open_image

_SMALLEST_SHARE = 0.5  # of the area, in :func:`augmented`
_ASPECT = (3 / 4, 4 / 3)


@dataclass(frozen=True, eq=False)
class View(DerivedImage):
    """A crop of an image, resized and possibly flipped.

    Attributes:
        source: the image.
        box: left, top, right and bottom in pixels.
        mirrored: whether left and right are exchanged.
        side: width and height after resizing, in pixels; None: those of the image.
    """

    source: ImageSource
    box: tuple[int, int, int, int]
    mirrored: bool
    side: int | None = None

    def open(self) -> Image.Image:
        """See :meth:`DerivedImage.open`."""
        image = open_image(self.source)
        size = image.size if self.side is None else (self.side, self.side)
        view = image.crop(self.box).resize(size, Image.Resampling.BICUBIC)
        return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else view

    def content_key(self) -> bytes:
        """See :func:`craft_zoo.data.content_key`."""
        side = "" if self.side is None else f"{self.side} "
        about = f"view {self.box} {self.mirrored} {side}of ".encode()
        return hashlib.blake2b(about + content_key(self.source), digest_size=20).digest()


def augmented(images: Sequence[ImageSource], rng: np.random.Generator) -> list[View]:
    """A random view of each image: a crop of half to all of its area, flipped with probability 1/2.

    The authors' code uses ``RandomResizedCrop(scale=(0.5, 1))`` and ``RandomHorizontalFlip``; here
    the model's preprocessing does the resizing. The views are computed when they are opened.

    Raises:
        CraftZooError: an image is missing or corrupt.
    """
    return [_draw(image, rng) for image in images]


def resized_crops(
    images: Sequence[ImageSource], rng: np.random.Generator, side: int, smallest: float
) -> list[View]:
    """A random view of each image as torchvision's ``RandomResizedCrop`` and flip make it.

    Ten crops are tried, each of a share of the area in [smallest, 1] and an aspect in [3/4, 4/3];
    if none fits into the image, the largest centred crop of such an aspect is taken. Unlike those
    of :func:`augmented`, a view is a square of the model's input size, so that the model's
    preprocessing neither resizes nor crops it again.

    Args:
        images: N images.
        rng: source of all random numbers.
        side: width and height of a view, in pixels.
        smallest: smallest share of an image's area.

    Raises:
        CraftZooError: an image is missing or corrupt.
    """
    return [
        View(source, _crop(*image_size(source), rng, smallest), bool(rng.random() < 0.5), side)
        for source in images
    ]


def _crop(
    image_width: int, image_height: int, rng: np.random.Generator, smallest: float
) -> tuple[int, int, int, int]:
    for _ in range(10):
        width, height = _random_size(image_width * image_height, rng, smallest)
        if 0 < width <= image_width and 0 < height <= image_height:
            top = int(rng.integers(image_height - height + 1))
            left = int(rng.integers(image_width - width + 1))
            return left, top, left + width, top + height
    width, height = image_width, image_height
    if width < _ASPECT[0] * height:
        height = round(width / _ASPECT[0])
    elif width > _ASPECT[1] * height:
        width = round(height * _ASPECT[1])
    left, top = (image_width - width) // 2, (image_height - height) // 2
    return left, top, left + width, top + height


def _random_size(area: int, rng: np.random.Generator, smallest: float) -> tuple[int, int]:
    """Width and height of a random share of an image's area, with a random aspect."""
    share = area * rng.uniform(smallest, 1)
    aspect = math.exp(rng.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
    return round(math.sqrt(share * aspect)), round(math.sqrt(share / aspect))


def _draw(source: ImageSource, rng: np.random.Generator) -> View:
    image_width, image_height = image_size(source)
    width, height = _random_size(image_width * image_height, rng, _SMALLEST_SHARE)
    width, height = min(image_width, max(1, width)), min(image_height, max(1, height))
    left = int(rng.integers(image_width - width + 1))
    top = int(rng.integers(image_height - height + 1))
    return View(source, (left, top, left + width, top + height), bool(rng.random() < 0.5))
