"""Image sources: a path, a PIL image or a uint8 array, opened the same way everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from craft_zoo.errors import CraftZooError

ImageSource = str | Path | Image.Image | np.ndarray

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})


def open_image(source: ImageSource) -> Image.Image:
    """The image as RGB.

    Args:
        source: a file's path, a PIL image, or a uint8 array of shape (H, W) or (H, W, 3).

    Raises:
        CraftZooError: the file is missing or cannot be decoded, or the array has another shape.
    """
    if isinstance(source, Image.Image):
        return source.convert("RGB")
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3):
            raise CraftZooError(
                f"an image array must be uint8 of shape (H, W) or (H, W, 3), "
                f"not {source.dtype} of shape {source.shape}: convert it first"
            )
        return Image.fromarray(source).convert("RGB")
    try:
        with Image.open(source) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise CraftZooError(f"image {source} does not exist: check the path") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CraftZooError(
            f"image {source} cannot be read ({error}): replace or remove it"
        ) from None


def find_images(folder: Path) -> list[Path]:
    """All image files directly in ``folder``, sorted by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
