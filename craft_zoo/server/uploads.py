"""Image files uploaded by clients."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from craft_zoo.data.images import BrokenImageError, DerivedImage, file_key, reading
from craft_zoo.data.pixels import as_rgb
from craft_zoo.errors import CraftZooError
from craft_zoo.server.image_bombs import fault_of

# Formats whose decoders image_bombs protects; clients convert other formats to PNG.
_FORMATS = ("JPEG", "PNG", "WEBP")


class ForgottenImageError(CraftZooError):
    """A model opens an image whose file was dropped because its features should be cached."""


class UploadedImage(DerivedImage):
    """An uploaded image file. Once it is encoded, the file may be dropped and only its hash kept.

    Args:
        content: the file.
        name: name of the image in error messages.
        pixels: maximum number of pixels.

    Attributes:
        sha256: SHA-256 of the file, hexadecimal.
        size: bytes of the file; 0 once it is dropped.
        dimensions: width and height in pixels, set by :meth:`measure`; 0 before that.
        opened: number of times that :meth:`open` or :meth:`file` was called.
    """

    def __init__(self, content: bytes, name: str, pixels: int) -> None:
        self._content: bytes | None = content
        self._name, self._most = name, pixels
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._key: bytes | None = None
        self.dimensions = 0, 0
        self.opened = 0

    @property
    def pixels(self) -> int:
        """Number of pixels, see ``dimensions``."""
        return math.prod(self.dimensions)

    @property
    def size(self) -> int:
        return len(self._content or b"")

    @property
    def is_held(self) -> bool:
        """Whether the file is still in memory."""
        return self._content is not None

    def measure(self) -> None:
        """Set ``dimensions`` from the file's header, without decoding.

        Raises:
            BrokenImageError: it is no image, too large, or made to exhaust the decoder.
        """
        with self._reading() as image:
            self.dimensions = image.size

    def check(self) -> None:
        """Check that the file can be decoded, and compute its content key.

        Raises:
            BrokenImageError: as :meth:`measure`, or the file is damaged.
        """
        self._rgb()
        self.content_key()

    def open(self) -> Image.Image:
        """See :meth:`DerivedImage.open`."""
        self.opened += 1
        return self._rgb()

    def file(self) -> bytes:
        """See :meth:`DerivedImage.file`."""
        self.opened += 1
        with self._reading():
            return self._content or b""

    def content_key(self) -> bytes:
        """See :meth:`DerivedImage.content_key`; equal to the key of the same file on disk."""
        if self._key is None:
            with self._reading():
                content = self._content or b""
            # Opens the file again: both images at once would hold its texts twice.
            self._key = file_key(content)
        return self._key

    def forget(self) -> None:
        """Drop the file."""
        self._content = None

    def _rgb(self) -> Image.Image:
        with self._reading() as image:
            return as_rgb(image, self._name)

    @contextmanager
    def _reading(self) -> Iterator[Image.Image]:
        content = self._content
        if content is None:
            raise ForgottenImageError(f"image {self._name} is no longer stored: send it again")
        most = min(self._most, Image.MAX_IMAGE_PIXELS or self._most)
        if fault := fault_of(content):
            raise BrokenImageError(f"image {self._name} {fault}", "save it anew, as PNG or JPEG")
        with reading(self._name), self._opened(content) as image:
            if math.prod(image.size) > most:  # the size is in the header; nothing is decoded yet
                raise BrokenImageError(
                    f"image {self._name} has {image.width:,} x {image.height:,} pixels",
                    f"send at most {most:,}",
                )
            yield image

    def _opened(self, content: bytes) -> Image.Image:
        try:
            return Image.open(io.BytesIO(content), formats=_FORMATS)
        except UnidentifiedImageError:  # its message contains a memory address
            raise BrokenImageError(
                f"image {self._name} cannot be read (cannot identify its format)",
                "send JPEG, PNG or WebP",
            ) from None


def pieces(
    images: Sequence[UploadedImage], most: int, pixels: int
) -> Iterator[Sequence[UploadedImage]]:
    """Split images into pieces of at most ``most`` images and ``pixels`` pixels, or one image."""
    first = total = 0
    for place, image in enumerate(images):
        if place > first and (place - first == most or total + image.pixels > pixels):
            yield images[first:place]
            first, total = place, 0
        total += image.pixels
    if images:
        yield images[first:]
