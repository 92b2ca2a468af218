"""Image files that came over the network."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from craft_zoo.data.images import BrokenImageError, DerivedImage, file_key, reading
from craft_zoo.data.pixels import as_rgb
from craft_zoo.errors import CraftZooError
from craft_zoo.server.image_bombs import fault_of

# Those whose files can be looked through before they are decoded; clients turn others into PNG.
_FORMATS = ("JPEG", "PNG", "WEBP")


class ForgottenImageError(CraftZooError):
    """A model wants to see an image again that it was expected to remember."""


class UploadedImage(DerivedImage):
    """The file of an image, until it is encoded; from then on its hash.

    Args:
        content: of the file, perhaps a part of a larger body.
        name: what to call it.
        pixels: that it may have.

    Attributes:
        sha256: of the file, hexadecimal.
        size: bytes that are held of it.
        pixels: that it has, see :meth:`measure`; 0 before that.
        opened: how often a model looked at it.
    """

    def __init__(self, content: bytes | memoryview, name: str, pixels: int) -> None:
        self._content: bytes | memoryview | None = content
        self._name, self._most = name, pixels
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._key: bytes | None = None
        self.pixels = self.opened = 0

    @property
    def size(self) -> int:
        return len(self._content or b"")

    @property
    def is_held(self) -> bool:
        """Whether it can be opened."""
        return self._content is not None

    def measure(self) -> None:
        """Find out how many pixels it has, of which none is decoded.

        Raises:
            BrokenImageError: it is no image, too large, or made to be hard to decode.
        """
        with self._reading() as image:
            self.pixels = math.prod(image.size)

    def check(self) -> None:
        """Decode it once, and find out its key.

        Raises:
            BrokenImageError: as :meth:`measure`, or it is damaged.
        """
        with self._reading() as image:
            as_rgb(image, self._name)
        self.content_key()

    def open(self) -> Image.Image:
        """See :meth:`DerivedImage.open`."""
        self.opened += 1
        with self._reading() as image:
            return as_rgb(image, self._name)

    def content_key(self) -> bytes:
        """See :meth:`DerivedImage.content_key`; as the same file has it on a disk."""
        if self._key is None:
            with self._reading():
                self._key = file_key(bytes(self._content or b""))
        return self._key

    def keep(self) -> None:
        """Hold the file alone, not what it is a part of."""
        if self._content is not None:
            self._content = bytes(self._content)

    def forget(self) -> None:
        """Let go of the file."""
        self._content = None

    @contextmanager
    def _reading(self) -> Iterator[Image.Image]:
        content = self._content
        if content is None:
            raise ForgottenImageError(f"image {self._name} is here no longer: send it again")
        most = min(self._most, Image.MAX_IMAGE_PIXELS or self._most)
        if fault := fault_of(content):
            raise BrokenImageError(f"image {self._name} {fault}", "save it anew, as PNG or JPEG")
        with reading(self._name), self._opened(content) as image:
            if math.prod(image.size) > most:  # known from the header; nothing is decoded yet
                raise BrokenImageError(
                    f"image {self._name} has {image.width:,} x {image.height:,} pixels",
                    f"send at most {most:,}",
                )
            yield image

    def _opened(self, content: bytes | memoryview) -> Image.Image:
        try:
            return Image.open(io.BytesIO(content), formats=_FORMATS)
        except UnidentifiedImageError:  # whose own words name an address in memory
            raise BrokenImageError(
                f"image {self._name} cannot be read (cannot identify its format)",
                "send JPEG, PNG or WebP",
            ) from None
