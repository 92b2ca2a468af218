"""Image sources (paths, PIL images, arrays, derived images): opening and hashing."""

from __future__ import annotations

import hashlib
import io
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from craft_zoo.data.pixels import (
    BrokenImageError,
    as_rgb,
    orientation_in_memory,
    rgb_of_array,
    steps_of_image,
    turn_of_file,
    upright_size,
)
from craft_zoo.errors import CraftZooError

_LOCAL = threading.local()


class DerivedImage(ABC):
    """An image that is computed from another source when it is opened."""

    @abstractmethod
    def open(self) -> Image.Image:
        """The image as RGB."""

    @abstractmethod
    def content_key(self) -> bytes:
        """See :func:`content_key`."""

    def file(self) -> bytes | None:
        """The content of the file that contains the image; None: there is no such file."""
        return None

    def name(self) -> str | None:
        """Name of the image for messages; None: it has none."""
        return None

    def identity(self) -> bytes:
        """Input of :func:`craft_zoo.data.fingerprint`; must be the same in every process."""
        return self.content_key()


ImageSource = str | Path | Image.Image | np.ndarray | DerivedImage


def open_image(source: ImageSource) -> Image.Image:
    """The image as 8-bit RGB, upright; see docs/inputs.md.

    Args:
        source: a file's path, a PIL image, an array (see
            :func:`~craft_zoo.data.pixels.rgb_of_array`), or a derived image.

    Raises:
        CraftZooError: the file is missing or cannot be decoded, the range of its pixel values is
            unknown, an array has an invalid shape or type, or the source is something else.
    """
    if isinstance(source, DerivedImage):
        return source.open()
    if isinstance(source, np.ndarray):
        return rgb_of_array(source)
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or f"of mode {source.mode}"
        with reading(name):
            return as_rgb(source, name, orientation_in_memory)
    _check_is_path(source)
    with reading(source), Image.open(source) as image:
        return as_rgb(image, source)


def _check_is_path(source: object) -> None:
    if isinstance(source, str | Path):
        return
    mend = "give a path, a PIL image or a numpy array"
    if isinstance(source, bytes | bytearray | memoryview):
        mend = "open it with PIL.Image.open(io.BytesIO(data))"
    elif hasattr(source, "numpy"):
        mend = "give tensor.numpy(), channels last: tensor.permute(1, 2, 0).numpy()"
    raise CraftZooError(f"an image cannot be of type {type(source).__name__}: {mend}")


def as_images(given: object) -> list[ImageSource]:
    """Check a sequence of images and convert it to a list.

    Args:
        given: a sequence of image sources, an array (N, H, W, 1), (N, H, W, 3) or (N, H, W, 4), or
            a table (DataFrame) or array (N, 1) of one column of image sources.

    Raises:
        CraftZooError: it is a single image, not a sequence, has several columns, or is empty.
    """
    given = _only_column(given)
    if isinstance(given, str | Path | bytes | bytearray | memoryview | Image.Image | DerivedImage):
        text = repr(given) if isinstance(given, str) else "image"
        raise CraftZooError(f"one image was given instead of a list of them: give [{text}]")
    if isinstance(given, np.ndarray) and given.dtype.kind not in "OSUT" and given.ndim != 4:
        raise CraftZooError(
            f"an array of shape {given.shape} was given instead of a list of images: give [array] "
            f"for one, list(array) for several grey ones, or an array (N, H, W, 3)"
        )
    if not isinstance(given, Iterable) or isinstance(given, Mapping | Set):
        raise CraftZooError(
            f"{type(given).__name__} was given instead of a list of images: give a list"
        )
    images: list[ImageSource] = list(given)
    if not images:
        raise CraftZooError("no images were given: give at least one")
    return images


def _only_column(given: object) -> object:
    """The column of a table or an array of one column; anything else as it is."""
    columns = getattr(given, "columns", None)
    if columns is not None:
        names = list(columns)
        if len(names) != 1:
            example = f", as table[{names[0]!r}]" if names else ""
            raise CraftZooError(
                f"a table of {len(names)} columns was given instead of a list of images: give the "
                f"column of the images{example}"
            )
        return given[names[0]]  # type: ignore[index]
    if isinstance(given, np.ndarray) and given.dtype.kind in "OSUT" and given.ndim == 2:
        if given.shape[1] != 1:
            raise CraftZooError(
                f"an array of {given.shape[1]} columns was given instead of a list of images: "
                f"give the column of the images, as array[:, 0]"
            )
        return given[:, 0]
    return given


def image_size(source: ImageSource) -> tuple[int, int]:
    """Width and height of the opened image; for a file, only its header is read.

    Raises:
        CraftZooError: as for :func:`open_image`.
    """
    if isinstance(source, str | Path):
        with reading(source), Image.open(source) as image:
            return upright_size(image)
    return open_image(source).size


def content_key(source: ImageSource) -> bytes:
    """Hash of all data that determine the opened image, independent of its location.

    Raises:
        CraftZooError: the file is missing or cannot be read.
    """
    if isinstance(source, DerivedImage):
        return source.content_key()
    if isinstance(source, np.ndarray):
        about = f"array {source.dtype} {source.shape}{in_words(steps_of(source))}"
        return hash_content(about, source.tobytes())
    if isinstance(source, Image.Image):
        image = open_image(source)
        return hash_content(f"image {image.size}", image.tobytes())
    _check_is_path(source)
    with reading(source):
        return file_key(Path(source).read_bytes())


def file_key(content: bytes) -> bytes:
    """As :func:`content_key`, for the content of a file."""
    return hash_content(f"file{in_words(steps_of(io.BytesIO(content)))}", content)


def steps_of(source: str | Path | IO[bytes] | Image.Image | np.ndarray) -> tuple[str, ...]:
    """Operations beyond Pillow's conversion to RGB with which :func:`open_image` opens an image.

    See :func:`craft_zoo.data.pixels.steps_of_image`. For a file, only the header is read; a file
    that cannot be opened has no steps, as :func:`open_image` reports the error.
    """
    if isinstance(source, np.ndarray):
        return ("over white",) if source.ndim == 3 and source.shape[2] == 4 else ()
    try:
        if isinstance(source, Image.Image):
            source.load()
            return steps_of_image(source, orientation_in_memory(source))
        with Image.open(source) as image:
            return steps_of_image(image, turn_of_file(image))
    except Exception:  # decoders raise undocumented exceptions on corrupt data
        return ()


def in_words(steps: tuple[str, ...]) -> str:
    """Steps as a suffix of a description; "" without steps."""
    return "".join(f", {step}" for step in steps)


def hash_content(about: str, content: bytes) -> bytes:
    """A hash of 20 bytes of ``content`` and of ``about``, which names the kind of content."""
    return hashlib.blake2b(about.encode() + b"\0" + content, digest_size=20).digest()


@contextmanager
def reading(name: object) -> Iterator[None]:
    """Convert exceptions of Pillow's decoders to :class:`BrokenImageError`.

    Within, :func:`being_read` returns the name, for warnings of the decoders.

    Args:
        name: name of the image in the message.

    Raises:
        BrokenImageError: the body of the ``with`` statement raised an exception.
    """
    before, _LOCAL.name = being_read(), name
    try:
        yield
    except CraftZooError:
        raise
    except FileNotFoundError:
        raise BrokenImageError(f"image {name} does not exist", "check the path") from None
    except Image.DecompressionBombError as error:
        fault = f"image {name} is too large ({str(error).rstrip('.')})"
        raise BrokenImageError(fault, "make it smaller") from None
    except Exception as error:  # decoders raise undocumented exceptions on corrupt data
        reason = str(error) or type(error).__name__
        raise BrokenImageError(
            f"image {name} cannot be read ({reason})", "replace or remove it"
        ) from None
    finally:
        _LOCAL.name = before


def being_read() -> object | None:
    """Name of the image that this thread is reading; None: none."""
    return getattr(_LOCAL, "name", None)
