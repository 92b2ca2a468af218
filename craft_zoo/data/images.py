"""Image sources: a path, a PIL image or an array, opened the same way everywhere."""

from __future__ import annotations

import hashlib
import io
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
    steps_of_file,
    steps_of_image,
    upright_size,
)
from craft_zoo.errors import CraftZooError


class DerivedImage(ABC):
    """An image that is made from another when it is opened."""

    @abstractmethod
    def open(self) -> Image.Image:
        """The image as RGB."""

    @abstractmethod
    def content_key(self) -> bytes:
        """See :func:`content_key`."""

    def file(self) -> bytes | None:
        """The content of the file that the image is read from; None: it is made otherwise."""
        return None

    def identity(self) -> bytes:
        """What :func:`craft_zoo.data.fingerprint` takes of it; the same in every process."""
        return self.content_key()


ImageSource = str | Path | Image.Image | np.ndarray | DerivedImage


def open_image(source: ImageSource) -> Image.Image:
    """The image as 8-bit RGB, upright; see docs/inputs.md.

    Args:
        source: a file's path, a PIL image, an array as :func:`~craft_zoo.data.pixels.rgb_of_array`
            takes it, or an image derived from one of these.

    Raises:
        CraftZooError: the file is missing or cannot be decoded, the range of its numbers is not
            known, the array has another shape or type, or the source is something else.
    """
    if isinstance(source, DerivedImage):
        return source.open()
    if isinstance(source, np.ndarray):
        return rgb_of_array(source)
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or f"of mode {source.mode}"
        with reading(name):
            return as_rgb(source, name, orientation_in_memory)
    check_is_path(source)
    with reading(source), Image.open(source) as image:
        return as_rgb(image, source)


def check_is_path(source: object) -> None:
    """Complain about what is no image source at all.

    Raises:
        CraftZooError: it is neither a string nor a path.
    """
    if isinstance(source, str | Path):
        return
    mend = "give a path, a PIL image or a numpy array"
    if isinstance(source, bytes | bytearray | memoryview):
        mend = "open it with PIL.Image.open(io.BytesIO(data))"
    elif hasattr(source, "numpy"):
        mend = "give tensor.numpy(), channels last: tensor.permute(1, 2, 0).numpy()"
    raise CraftZooError(f"an image cannot be of type {type(source).__name__}: {mend}")


def as_images(given: object) -> list[ImageSource]:
    """The images of a sequence, one at the least.

    Args:
        given: a sequence of image sources, or an array (N, H, W, 1), (N, H, W, 3) or (N, H, W, 4).

    Raises:
        CraftZooError: it is a single image, no sequence, or empty.
    """
    if isinstance(given, str | Path | bytes | bytearray | memoryview | Image.Image | DerivedImage):
        text = repr(given) if isinstance(given, str) else "image"
        raise CraftZooError(f"one image was given instead of a list of them: give [{text}]")
    if isinstance(given, np.ndarray) and given.dtype.kind not in "OSU" and given.ndim != 4:
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


def image_size(source: ImageSource) -> tuple[int, int]:
    """Width and height as :func:`open_image` opens it, of a file from its header alone.

    Raises:
        CraftZooError: as for :func:`open_image`.
    """
    if isinstance(source, str | Path):
        with reading(source), Image.open(source) as image:
            return upright_size(image)
    return open_image(source).size


def content_key(source: ImageSource) -> bytes:
    """Hash of what decides how the image looks: the same for equal images, wherever they lie.

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
    check_is_path(source)
    with reading(source):
        return file_key(Path(source).read_bytes())


def file_key(content: bytes) -> bytes:
    """See :func:`content_key`, of a file's content."""
    return hash_content(f"file{in_words(steps_of(io.BytesIO(content)))}", content)


def steps_of(source: str | Path | IO[bytes] | Image.Image | np.ndarray) -> tuple[str, ...]:
    """What is done to an image beyond Pillow's conversion to RGB when it is opened.

    See :func:`craft_zoo.data.pixels.steps_of_image`. Of a file the header tells; a file that cannot
    be opened has no steps, as whoever opens it to look at it says what is wrong.
    """
    if isinstance(source, np.ndarray):
        return ("over white",) if source.ndim == 3 and source.shape[2] == 4 else ()
    try:
        if isinstance(source, Image.Image):
            source.load()
            return steps_of_image(source, orientation_in_memory(source))
        with Image.open(source) as image:
            return steps_of_file(image)
    except Exception:  # garbage makes decoders fail in more ways than they declare
        return ()


def in_words(steps: tuple[str, ...]) -> str:
    """Steps as the end of a description; "" where there are none."""
    return "".join(f", {step}" for step in steps)


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
