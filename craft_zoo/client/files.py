"""Encodes images as files to be sent to a server."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

from PIL import Image

from craft_zoo.blackbox.base import VLM, ImageSet, Progress
from craft_zoo.data.images import DerivedImage, ImageSource, open_image, reading, steps_of
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable

_COMPRESSION = 1  # of PNG; files are a tenth larger than at level 9, but much faster to write
_QUALITY = 90  # of JPEG, with which the file of a telephone's photograph does not grow
_JPEG, _PNG, _WEBP = b"\xff\xd8", b"\x89PNG", b"RIFF"  # first bytes of a file


def file_of(source: ImageSource) -> bytes:
    """The bytes of an image file in JPEG, PNG or WebP format; other images are encoded as PNG.

    Files that programs decode differently are also converted to PNG: those with transparency, 16
    bits per channel, or CMYK with a profile. An orientation in the metadata is kept.

    Raises:
        BrokenImageError: the file is missing or cannot be read, or the array is no image.
    """
    content = None
    with reading(source) if isinstance(source, str | Path) else nullcontext():
        if isinstance(source, str | Path):
            content = Path(source).read_bytes()
        elif isinstance(source, DerivedImage):
            content = source.file()
        if (
            content is not None
            and content.startswith((_JPEG, _PNG, _WEBP))
            and all(step.startswith("turned") for step in steps_of(io.BytesIO(content)))
        ):
            return content
    file = io.BytesIO()
    open_image(source).save(file, "PNG", compress_level=_COMPRESSION)
    return file.getvalue()


def size_of(file: bytes) -> tuple[int, int]:
    """Width and height of an image file, in pixels, from its header."""
    with Image.open(io.BytesIO(file)) as image:
        return image.size


def upright_file_of(source: ImageSource, side: int | None = None) -> bytes:
    """As :func:`file_of`, with the orientation in the metadata applied to the pixels.

    Ollama, llama.cpp and SGLang, among others, ignore it, and would see photographs of a telephone
    on their side. JPEG files stay such, as a PNG file of a photograph is ten times as large.

    Args:
        source: the image.
        side: length of the longer side, in pixels, to which a larger image is reduced; None: it is
            not.
    """
    content = file_of(source)
    is_large = side is not None and max(size_of(content)) > side
    if not is_large and not steps_of(io.BytesIO(content)):
        return content
    file, image = io.BytesIO(), open_image(source)
    if side is not None:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    if content.startswith(_JPEG):
        image.save(file, "JPEG", quality=_QUALITY)
    else:
        image.save(file, "PNG", compress_level=_COMPRESSION)
    return file.getvalue()


def media_type(image: bytes) -> str:
    """The media type of an image file that :func:`upright_file_of` made."""
    if image.startswith(_JPEG):
        return "image/jpeg"
    return "image/png" if image.startswith(_PNG) else "image/webp"


def data_url(image: bytes) -> str:
    """An image file as a data URL."""
    return f"data:{media_type(image)};base64,{base64.b64encode(image).decode()}"


class ImageFiles(ImageSet):
    """Images that are sent as files with each query.

    Args:
        sources: N images.
        owner: the model that they belong to.
        progress: called as images are read.
        most: maximum size of a file, in bytes; None: unlimited.
        side: see :func:`upright_file_of`.

    Attributes:
        keys: hashes of the N files; equal files have equal hashes.

    Raises:
        BrokenImageError: an image cannot be read.
        CraftZooError: a file is too large.
    """

    def __init__(
        self,
        sources: Sequence[ImageSource],
        owner: VLM,
        progress: Progress | None,
        most: int | None,
        side: int | None,
    ) -> None:
        super().__init__(sources, owner)
        self.keys: list[bytes] = []
        self._reduced: list[bytes] = []  # small, and reducing takes longer than reading
        for place, source in enumerate(sources):
            content = upright_file_of(source, side)
            if side is not None:
                self._reduced.append(content)
            if most is not None and len(content) > most:
                what = printable(source) if isinstance(source, str | Path) else f"image {place}"
                raise CraftZooError(
                    f"{what} has {len(content):,} bytes, and {owner.name} takes {most:,} at most: "
                    f"make it smaller"
                )
            self.keys.append(hashlib.sha256(content).digest())
            if progress:
                progress(len(self.keys), len(sources))

    def file(self, place: int) -> bytes:
        """The file of an image."""
        return self._reduced[place] if self._reduced else upright_file_of(self.sources[place])

    @cached_property
    def first(self) -> dict[bytes, int]:
        """Index of the first image of each different file, ascending, by the file's hash."""
        first: dict[bytes, int] = {}
        for place, key in enumerate(self.keys):
            first.setdefault(key, place)
        return first
