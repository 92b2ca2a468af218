"""Image sources: a path, a PIL image or a uint8 array, opened the same way everywhere."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from craft_zoo.errors import CraftZooError


class DerivedImage(ABC):
    """An image that is made from another when it is opened."""

    @abstractmethod
    def open(self) -> Image.Image:
        """The image as RGB."""

    @abstractmethod
    def content_key(self) -> bytes:
        """See :func:`content_key`."""


ImageSource = str | Path | Image.Image | np.ndarray | DerivedImage

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})


def open_image(source: ImageSource) -> Image.Image:
    """The image as RGB.

    Args:
        source: a file's path, a PIL image, a uint8 array of shape (H, W) or (H, W, 3), or an
            image derived from one of these.

    Raises:
        CraftZooError: the file is missing or cannot be decoded, or the array has another shape.
    """
    if isinstance(source, DerivedImage):
        return source.open()
    if isinstance(source, Image.Image):
        return source.convert("RGB")
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3):
            raise CraftZooError(
                f"an image array must be uint8 of shape (H, W) or (H, W, 3), "
                f"not {source.dtype} of shape {source.shape}: convert it first"
            )
        return Image.fromarray(source).convert("RGB")
    with _named_errors(source), Image.open(source) as image:
        return image.convert("RGB")


def image_size(source: ImageSource) -> tuple[int, int]:
    """Width and height, of a file from its header alone.

    Raises:
        CraftZooError: as for :func:`open_image`.
    """
    if isinstance(source, str | Path):
        with _named_errors(source), Image.open(source) as image:
            return image.size
    return open_image(source).size


def content_key(source: ImageSource) -> bytes:
    """Hash of what decides how the image looks: the same for equal images, wherever they lie.

    Raises:
        CraftZooError: the file is missing or cannot be read.
    """
    if isinstance(source, DerivedImage):
        return source.content_key()
    if isinstance(source, np.ndarray):
        about, content = f"array {source.dtype} {source.shape}", source.tobytes()
    elif isinstance(source, Image.Image):
        about, content = f"image {source.size}", open_image(source).tobytes()
    else:
        with _named_errors(source):
            about, content = "file", Path(source).read_bytes()
    return hashlib.blake2b(about.encode() + b"\0" + content, digest_size=20).digest()


@contextmanager
def _named_errors(source: str | Path) -> Iterator[None]:
    try:
        yield
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
