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


class BrokenImageError(CraftZooError):
    """One image is missing or cannot be read.

    Attributes:
        fault: what is wrong with it, in a sentence that names it.
        mend: what its owner can do.
    """

    def __init__(self, fault: str, mend: str) -> None:
        super().__init__(fault, mend)  # both, so that it can be pickled
        self.fault = fault
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.fault}: {self.mend}"


class DerivedImage(ABC):
    """An image that is made from another when it is opened."""

    @abstractmethod
    def open(self) -> Image.Image:
        """The image as RGB."""

    @abstractmethod
    def content_key(self) -> bytes:
        """See :func:`content_key`."""

    def identity(self) -> bytes:
        """What :func:`craft_zoo.data.fingerprint` takes of it; the same in every process."""
        return self.content_key()


ImageSource = str | Path | Image.Image | np.ndarray | DerivedImage


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
    with reading(source), Image.open(source) as image:
        return image.convert("RGB")


def image_size(source: ImageSource) -> tuple[int, int]:
    """Width and height, of a file from its header alone.

    Raises:
        CraftZooError: as for :func:`open_image`.
    """
    if isinstance(source, str | Path):
        with reading(source), Image.open(source) as image:
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
        with reading(source):
            about, content = "file", Path(source).read_bytes()
    return hash_content(about, content)


def hash_content(about: str, content: bytes) -> bytes:
    """A key of 20 bytes for ``content``; ``about`` tells kinds of content apart, as "file"."""
    return hashlib.blake2b(about.encode() + b"\0" + content, digest_size=20).digest()


@contextmanager
def reading(name: object) -> Iterator[None]:
    """Errors of Pillow's decoders, said in a sentence.

    Args:
        name: what to call the image.

    Raises:
        BrokenImageError: something failed inside.
    """
    try:
        yield
    except CraftZooError:
        raise
    except FileNotFoundError:
        raise BrokenImageError(f"image {name} does not exist", "check the path") from None
    except Exception as error:  # garbage makes decoders fail in more ways than they declare
        reason = str(error) or type(error).__name__
        raise BrokenImageError(
            f"image {name} cannot be read ({reason})", "replace or remove it"
        ) from None
