"""Features that are computed from pixels without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.local_features.registry import register_features

_SIDE = 64  # pixels to which images are resized; their aspect ratio is not kept


@register_features("colours")
def colours(images: Sequence[ImageSource]) -> np.ndarray:
    """27 numbers: quantiles of the colours, and of the gradients at three resolutions."""
    return np.stack([_colours(_small(image)) for image in images])


def _colours(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image, dtype=np.float32).reshape(-1, 3) / 255
    parts = [np.quantile(pixels, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0).T.ravel()]
    for side in (_SIDE, _SIDE // 2, _SIDE // 4):
        smaller = image.resize((side, side), Image.Resampling.BOX).convert("L")
        down, right = np.gradient(np.asarray(smaller, dtype=np.float32) / 255)
        # Their distribution has a long tail, which the square root shortens.
        parts.append(np.sqrt(np.quantile(np.hypot(down, right), [0.1, 0.5, 0.9, 0.99])))
    return np.concatenate(parts)


@register_features("hog")
def hog(images: Sequence[ImageSource]) -> np.ndarray:
    """128 numbers: histograms of oriented gradients in 4 x 4 cells (Dalal and Triggs 2005)."""
    from skimage.feature import hog as of_image  # takes half a second

    return np.stack(
        [
            of_image(
                np.asarray(_small(image).convert("L"), dtype=np.float32) / 255,
                orientations=8,
                pixels_per_cell=(_SIDE // 4, _SIDE // 4),
                cells_per_block=(1, 1),
            )
            for image in images
        ]
    )


def _small(source: ImageSource) -> Image.Image:
    return open_image(source).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
