"""The augmentation that CraFT's authors train the refiner with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from craft_zoo.data.images import ImageSource, open_image

_AREA = (0.5, 1.0)
_ASPECT = (3 / 4, 4 / 3)


def augmented(images: Sequence[ImageSource], rng: np.random.Generator) -> list[Image.Image]:
    """One view of every image: a random crop of half to all of its area, flipped half the time.

    Released as ``RandomResizedCrop(scale=(0.5, 1))`` and ``RandomHorizontalFlip``; the resizing is
    left to the model's own preprocessing.
    """
    return [_view(open_image(image), rng) for image in images]


def _view(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    area = image.width * image.height * rng.uniform(*_AREA)
    aspect = math.exp(rng.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
    width = min(image.width, max(1, round(math.sqrt(area * aspect))))
    height = min(image.height, max(1, round(math.sqrt(area / aspect))))
    left = int(rng.integers(image.width - width + 1))
    top = int(rng.integers(image.height - height + 1))
    view = image.crop((left, top, left + width, top + height)).resize(
        image.size, Image.Resampling.BICUBIC
    )
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else view
