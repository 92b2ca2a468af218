"""Image augmentation with which CraFT's authors train the refiner."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from craft_zoo.data.images import DerivedImage, ImageSource, content_key, image_size, open_image

_AREA = (0.5, 1.0)
_ASPECT = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class View(DerivedImage):
    """A crop of an image, resized to the image's size and possibly flipped.

    Attributes:
        source: the image.
        box: left, top, right and bottom in pixels.
        mirrored: whether left and right are exchanged.
    """

    source: ImageSource
    box: tuple[int, int, int, int]
    mirrored: bool

    def open(self) -> Image.Image:
        """See :meth:`DerivedImage.open`."""
        image = open_image(self.source)
        view = image.crop(self.box).resize(image.size, Image.Resampling.BICUBIC)
        return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else view

    def content_key(self) -> bytes:
        """See :func:`craft_zoo.data.content_key`."""
        about = f"view {self.box} {self.mirrored} of ".encode()
        return hashlib.blake2b(about + content_key(self.source), digest_size=20).digest()


def augmented(images: Sequence[ImageSource], rng: np.random.Generator) -> list[View]:
    """A random view of each image: a crop of half to all of its area, flipped with probability 1/2.

    The authors' code uses ``RandomResizedCrop(scale=(0.5, 1))`` and ``RandomHorizontalFlip``; here
    the model's preprocessing does the resizing. The views are computed when they are opened.

    Raises:
        CraftZooError: an image is missing or corrupt.
    """
    return [_draw(image, rng) for image in images]


def _draw(source: ImageSource, rng: np.random.Generator) -> View:
    image_width, image_height = image_size(source)
    area = image_width * image_height * rng.uniform(*_AREA)
    aspect = math.exp(rng.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
    width = min(image_width, max(1, round(math.sqrt(area * aspect))))
    height = min(image_height, max(1, round(math.sqrt(area / aspect))))
    left = int(rng.integers(image_width - width + 1))
    top = int(rng.integers(image_height - height + 1))
    return View(source, (left, top, left + width, top + height), bool(rng.random() < 0.5))
