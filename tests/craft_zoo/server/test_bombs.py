"""Image bombs, small files that need much time or memory, are refused before decoding."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from craft_zoo.data.images import BrokenImageError, content_key, open_image
from craft_zoo.server.uploads import UploadedImage

NoMoreThan = Callable[..., AbstractContextManager[None]]

MEGABYTE = 2**20
PIXELS = 2**25

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


def zeros(size: int) -> bytes:
    packing = zlib.compressobj(9)
    pieces = [packing.compress(bytes(MEGABYTE)) for _ in range(size // MEGABYTE)]
    return b"".join([*pieces, packing.compress(bytes(size % MEGABYTE)), packing.flush()])


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png(before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG file of one pixel with further chunks."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(4)))
    return b"\x89PNG\r\n\x1a\n" + head + before + pixels + after + chunk(b"IEND", b"")


def jpeg(size: tuple[int, int] = (8, 8), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("L", size).save(file, "JPEG", **options)
    return file.getvalue()


def with_segments(segment: bytes, count: int) -> bytes:
    return b"\xff\xd8" + segment * count + jpeg()[2:]


def with_scans(count: int) -> bytes:
    """A progressive JPEG file whose last scan is repeated."""
    file = jpeg((2000, 2000), progressive=True)
    end = file.rfind(b"\xff\xd9")
    return file[:end] + file[file.rfind(b"\xff\xda") : end] * count + b"\xff\xd9"


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "segments": (lambda: with_segments(b"\xff\xe1\0\2", 2**20), "many bytes besides its pixels"),
    "comments": (lambda: with_segments(b"\xff\xfe\0\2", 2**20), "many bytes besides its pixels"),
    "tables": (lambda: with_segments(b"\xff\xdb\xff\xff" + bytes(65533), 99), "many bytes besides"),
    "frames": (
        lambda: with_segments(b"\xff\xc0\xff\xff" + bytes(65533), 9),
        "holds more than one frame",
    ),
    "filling": (lambda: with_segments(b"\xff", 2**22), "many bytes besides its pixels"),
    "filling, escaped": (lambda: with_segments(b"\xff" * 2**20 + b"\0", 4), "many bytes besides"),
    "no scan": (lambda: b"\xff\xd8\xff" + bytes(2**22), "many bytes besides its pixels"),
    "scans": (lambda: with_scans(100), "has more than 64 scans"),
    "chunks": (lambda: png(chunk(b"prIv", b"") * 2**17), "too many chunks"),
    "chunks behind": (lambda: png(after=chunk(b"prIv", b"") * 2**17), "too many chunks"),
    "texts": (lambda: png(chunk(b"tEXt", b"a\0") * 2**17), "too many chunks"),
    "empty pixels": (lambda: png(chunk(b"IDAT", b"") * 2**17), "too many chunks"),
    "a profile": (lambda: png(chunk(b"iCCP", b"a\0\0" + zeros(2**27))), "too large"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_a_sentence(name: str, no_more_than: NoMoreThan) -> None:
    make, said = BOMBS[name]
    image = UploadedImage(make(), "7", PIXELS)
    with no_more_than(20, seconds=2):
        with pytest.raises(BrokenImageError, match="image 7 ") as refused:
            image.measure()
        assert said in str(refused.value)


def test_what_files_hold_beside_their_pixels_is_bounded(no_more_than: NoMoreThan) -> None:
    texts = b"".join(
        chunk(b"zTXt", b"%d\0\0" % n + zlib.compress(bytes(MEGABYTE - 1))) for n in range(60)
    )
    image = UploadedImage(png(texts), "7", PIXELS)
    with no_more_than(100, seconds=5):
        image.measure()
        image.check()


def saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(pixels // 32 * 32)
    more = {"append_images": [image.rotate(90)] * 20} if options.get("save_all") else {}
    image.convert(mode).save(file, kind, **options, **more)
    return file.getvalue()


def exif() -> Image.Exif:
    about = Image.Exif()
    about[0x010E] = "a word " * 1000
    about[0x0112] = 6
    about.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    return about


def profiled() -> dict[str, Any]:
    return {"exif": exif(), "icc_profile": bytes(200_000)}


@pytest.mark.parametrize(
    "make",
    [
        lambda: saved("JPEG"),
        lambda: saved("JPEG", progressive=True, comment=b"hello", **profiled()),
        lambda: saved("JPEG", "CMYK", restart_marker_rows=1),
        lambda: saved("MPO", save_all=True),
        lambda: saved("PNG", **profiled()),
        lambda: saved("PNG", "P"),
        lambda: saved("PNG", "P", transparency=3),
        lambda: saved("PNG", "LA"),
        lambda: saved("PNG", "RGBA"),
        lambda: saved("PNG", "I;16"),
        lambda: saved("PNG", save_all=True),
        lambda: saved("WEBP", **profiled()),
        lambda: saved("WEBP", "RGBA", **profiled()),
        lambda: saved("WEBP", lossless=True, save_all=True),
    ],
)
def test_whatever_programs_save_is_taken_as_it_is(
    make: Callable[[], bytes], tmp_path: Path
) -> None:
    file = make()
    image = UploadedImage(file, "7", 80 * 60)
    image.measure()
    image.check()
    assert image.pixels == 80 * 60
    assert np.array_equal(image.open(), open_image(Image.open(io.BytesIO(file))))
    path = tmp_path / "file"
    path.write_bytes(file)
    assert image.content_key() == content_key(path)
    with pytest.raises(BrokenImageError, match=r"has \d\d x \d\d pixels"):
        UploadedImage(file, "7", 80 * 60 - 1).measure()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF"])
def test_formats_that_are_not_looked_through_are_refused(kind: str) -> None:
    with pytest.raises(BrokenImageError, match="send JPEG, PNG or WebP"):
        UploadedImage(saved(kind), "7", PIXELS).measure()
