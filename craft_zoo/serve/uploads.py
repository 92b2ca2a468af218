"""Image files that came over the network."""

from __future__ import annotations

import hashlib
import io
import math

from PIL import Image

from craft_zoo.data.images import BrokenImageError, DerivedImage, hash_content, reading
from craft_zoo.errors import CraftZooError

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


class ForgottenImageError(CraftZooError):
    """A model wants to see an image again that it was expected to remember."""


class UploadedImage(DerivedImage):
    """The file of an image, until it is encoded; from then on its hash.

    Args:
        content: of the file.
        name: what to call it.
        pixels: that it may have.

    Attributes:
        sha256: of the file, hexadecimal.
        size: bytes that are held of it.
        opened: how often a model looked at it.
    """

    def __init__(self, content: bytes, name: str, pixels: int) -> None:
        self._content: bytes | None = content
        self._name, self._pixels = name, pixels
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._key = hash_content("file", content)  # as the same file has it on a disk
        self.opened = 0

    @property
    def size(self) -> int:
        return len(self._content or b"")

    @property
    def is_held(self) -> bool:
        """Whether it can be opened."""
        return self._content is not None

    def check(self) -> None:
        """Decode it once.

        Raises:
            BrokenImageError: it is no image, damaged, or too large.
        """
        self._decode()

    def open(self) -> Image.Image:
        """See :meth:`DerivedImage.open`."""
        self.opened += 1
        return self._decode()

    def content_key(self) -> bytes:
        """See :meth:`DerivedImage.content_key`."""
        return self._key

    def forget(self) -> None:
        """Let go of the file."""
        self._content = None

    def _decode(self) -> Image.Image:
        content = self._content
        if content is None:
            raise ForgottenImageError(f"image {self._name} is here no longer: send it again")
        with reading(self._name), Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            most = min(self._pixels, Image.MAX_IMAGE_PIXELS or self._pixels)
            if math.prod(image.size) > most:  # known from the header; nothing is decoded yet
                raise BrokenImageError(
                    f"image {self._name} has {image.width:,} x {image.height:,} pixels",
                    f"send at most {most:,}",
                )
            return image.convert("RGB")
