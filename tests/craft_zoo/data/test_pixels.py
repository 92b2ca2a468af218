"""Conversion of everything that Pillow reads to upright 8-bit RGB."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from craft_zoo.data import content_key, open_image
from craft_zoo.data.augment import augmented
from craft_zoo.data.fingerprint import describe
from craft_zoo.data.images import as_images, hash_content, image_size
from craft_zoo.data.pixels import BrokenImageError, rgb_of_array
from craft_zoo.errors import CraftZooError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (5, 8, 3), dtype=np.uint8)
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
PLAIN = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
TURNS = range(1, 9)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def pixels_of(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image, int)


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def saved(image: Image.Image, kind: str, **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(png: bytes, name: bytes, data: bytes, *, behind: bool) -> bytes:
    """A PNG file with one more chunk, before or after its pixels."""
    at = png.index(b"IEND" if behind else b"IDAT") - 4
    return png[:at] + chunk(name, data) + png[at:]


def tiff(values: np.ndarray, bits: int, photometric: int, data: bytes) -> bytes:
    """A grey TIFF file of a kind that Pillow does not write."""
    height, width = values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: 1, 278: height}
    tags |= {273: 8 + 2 + 9 * 12 + 4, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# Orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", TURNS)
def test_orientation_is_that_of_every_viewer(kind: str, turn: int, tmp_path: Path) -> None:
    more = {"lossless": True} if kind == "WEBP" else {}
    path = written(
        tmp_path / "file", saved(Image.fromarray(COLOURS), kind, exif=exif(turn), **more)
    )
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    opened = open_image(path)
    assert np.array_equal(opened, expected)
    assert image_size(path) == opened.size
    for given_image in (Image.open(path), Image.open(path).copy()):
        assert np.array_equal(open_image(given_image), expected)
    # Who has turned it, or been given it upright, sees it no other way.
    assert np.array_equal(open_image(opened), expected)
    assert np.array_equal(open_image(ImageOps.exif_transpose(Image.open(path))), expected)
    view = augmented([path], np.random.default_rng(0))[0]
    assert view.open().size == opened.size


@given(mode=st.sampled_from((*PLAIN, *ALPHA)), size=sizes, turn=st.sampled_from(TURNS))
def test_every_mode_is_turned(mode: str, size: tuple[int, int], turn: int) -> None:
    image = made(mode, size)
    upright = pixels_of(open_image(image))
    image.getexif()[0x0112] = turn
    method = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(turn)
    turned = Image.fromarray(upright.astype(np.uint8))
    turned = turned if method is None else turned.transpose(Image.Transpose(method))
    assert np.array_equal(open_image(image), turned)


@pytest.mark.parametrize("behind", [False, True])
def test_png_may_say_its_orientation_behind_its_pixels(behind: bool, tmp_path: Path) -> None:
    plain = saved(Image.fromarray(COLOURS), "PNG")
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="8"/>'
    for name, data in ((b"eXIf", exif(8).tobytes()[6:]), (b"iTXt", xmp)):
        path = written(tmp_path / "x.png", with_chunk(plain, name, data, behind=behind))
        assert image_size(path) == (5, 8)
        assert np.array_equal(open_image(path), np.rot90(COLOURS))
        assert content_key(path) != hash_content("file", path.read_bytes())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", ["<", ">"])
def test_garbage_in_metadata_leaves_the_picture_as_it_is(order: str, tmp_path: Path) -> None:
    head = b"II*\0" if order == "<" else b"MM\0*"
    rng = np.random.default_rng(1)
    kinds = [
        b"",
        b"Exif\0\0",
        head,
        head + b"\xff" * 20,
        head + struct.pack(f"{order}IH", 8, 65535),
        head + struct.pack(f"{order}IHHHIH", 8, 1, 0x0112, 3, 1, 99) + bytes(8),
        head + struct.pack(f"{order}IHHHIH", 8, 1, 0x0112, 2, 1, 6) + bytes(8),
        *(head + rng.bytes(60) for _ in range(20)),
    ]
    plain = saved(Image.fromarray(COLOURS), "PNG")
    for data in kinds:
        content = with_chunk(plain, b"eXIf", data, behind=False)
        path = written(tmp_path / "x.png", content)
        assert image_size(path) == (8, 5)
        assert np.array_equal(open_image(path), COLOURS)
        assert content_key(path) == hash_content("file", content)


def test_metadata_that_refers_to_much_takes_no_memory(tmp_path: Path) -> None:
    entries = 20_000  # each of a megabyte, as Pillow's own reader would keep them
    directory = b"".join(struct.pack("<HHII", 1000 + i, 1, 10**6, 8) for i in range(entries))
    bomb = b"II*\0" + struct.pack("<IH", 8, entries) + directory + bytes(10**6)
    content = with_chunk(saved(Image.fromarray(COLOURS), "PNG"), b"eXIf", bomb, behind=False)
    path = written(tmp_path / "x.png", content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(open_image(path), COLOURS)


# Depth


@given(values=st.lists(st.integers(0, 65535), min_size=6, max_size=6))
def test_sixteen_bits_are_scaled_to_eight(values: list[int]) -> None:
    numbers = np.array(values, np.uint16).reshape(2, 3)
    levels = np.rint(numbers / 257).astype(int)
    grey = Image.fromarray(numbers)
    big = Image.frombytes("I;16B", (3, 2), numbers.astype(">u2").tobytes())
    files = [saved(grey, kind) for kind in ("PNG", "TIFF", "PPM")] + [saved(big, "TIFF")]
    files += [tiff(numbers, 16, 1, numbers.tobytes())]
    for source in (grey, big, *(Image.open(io.BytesIO(file)) for file in files), numbers):
        opened = pixels_of(open_image(source))
        assert np.array_equal(opened, np.stack([levels] * 3, -1))
    inverted = Image.open(io.BytesIO(tiff(numbers, 16, 0, numbers.tobytes())))
    assert np.abs(255 - pixels_of(open_image(inverted))[..., 0] - levels).max() <= 1
    floats = io.BytesIO(
        saved(Image.fromarray(numbers / np.float32(65535)), "TIFF", tiffinfo={262: 0})
    )
    assert np.abs(255 - pixels_of(open_image(Image.open(floats)))[..., 0] - levels).max() <= 1
    big_endian = numbers.astype(">u2")
    assert np.array_equal(pixels_of(open_image(big_endian))[..., 0], levels)


def test_twelve_bits_are_scaled_by_their_own_range() -> None:
    numbers = np.array([[0, 4095], [2048, 273]])
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in numbers.tolist())
    image = Image.open(io.BytesIO(tiff(numbers, 12, 1, packed)))
    assert pixels_of(open_image(image))[..., 0].tolist() == [[0, 255], [128, 17]]


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
@pytest.mark.parametrize("bits", [8, 16])
def test_png_of_sixteen_bits_looks_as_that_of_eight(colour_type: int, bits: int) -> None:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    levels = RNG.integers(0, 256, (4, 3, channels))
    numbers = (levels * 257).astype(">u2") if bits == 16 else levels.astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in numbers)
    head = struct.pack(">IIBBBBB", 3, 4, bits, colour_type, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    opened = pixels_of(open_image(Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + content))))
    shown = levels[..., :1].repeat(3, -1) if channels < 3 else levels[..., :3]
    if channels in (2, 4):
        alpha = levels[..., -1:] / 255
        shown = shown * alpha + 255 * (1 - alpha)
    assert np.abs(opened - shown).max() <= 1


@pytest.mark.parametrize(
    ("bits", "colour_type", "see_through", "other"),
    [
        (1, 0, (1,), (0,)),
        (2, 0, (1,), (2,)),
        (4, 0, (0,), (7,)),
        (4, 0, (14,), (3,)),
        (8, 0, (9,), (10,)),
        (16, 0, (513,), (0,)),
        (8, 2, (1, 2, 3), (1, 2, 4)),
        (16, 2, (514, 771, 1028), (0, 771, 1028)),
    ],
)
def test_the_colour_that_png_calls_transparent_is_white(
    bits: int, colour_type: int, see_through: tuple[int, ...], other: tuple[int, ...]
) -> None:
    def packed(colour: tuple[int, ...]) -> bytes:
        if bits < 8:
            return bytes([colour[0] << 8 - bits])
        return b"".join(number.to_bytes(bits // 8, "big") for number in colour)

    content = b"\x89PNG\r\n\x1a\n"
    content += chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 2, bits, colour_type, 0, 0, 0))
    content += chunk(b"tRNS", b"".join(number.to_bytes(2, "big") for number in see_through))
    rows = b"\0" + packed(see_through) + b"\0" + packed(other)
    content += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    opened = pixels_of(open_image(Image.open(io.BytesIO(content))))
    shown = [round(number / (2**bits - 1) * 255) for number in other]
    assert opened[0, 0].tolist() == [255] * 3
    assert np.abs(opened[1, 0] - np.array(shown * (3 // len(shown)))).max() <= 2


@given(values=st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6))
def test_floats_are_read_from_black_at_0_to_white_at_1(values: list[float]) -> None:
    numbers = np.array(values, np.float32).reshape(2, 3)
    expected = np.rint(numbers.astype(np.float64) * 255).astype(int)
    image = Image.fromarray(numbers)
    file = Image.open(io.BytesIO(saved(image, "TIFF")))
    for source in (image, file, numbers, numbers.astype(np.float64), numbers[..., None]):
        assert np.array_equal(pixels_of(open_image(source))[..., 0], expected)


@pytest.mark.parametrize("numbers", [[0, 1.5], [-1, 0], [0, 255], [0.5, np.nan], [0, np.inf]])
def test_floats_of_another_range_are_refused(numbers: list[float], tmp_path: Path) -> None:
    array = np.array([numbers], np.float32)
    path = written(tmp_path / "x.tif", saved(Image.fromarray(array), "TIFF"))
    with pytest.raises(BrokenImageError, match=f"image {path} has floating-point numbers from "):
        open_image(path)
    for source in (array, Image.fromarray(array)):
        with pytest.raises(BrokenImageError, match="scale them from 0 "):
            open_image(source)


def test_whole_numbers_of_unknown_range_are_refused(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(6, dtype=np.int32).reshape(2, 3))
    signed = tiff(np.zeros((1, 1)), 32, 1, bytes(4))
    for content in (saved(image, "TIFF"), signed):
        path = written(tmp_path / "x.tif", content)
        with pytest.raises(BrokenImageError, match=r"range is not known .*save it with 8 or 16"):
            open_image(path)
    with pytest.raises(BrokenImageError, match="range is not known"):
        open_image(image)


# Transparency and inks


def made(mode: str, size: tuple[int, int]) -> Image.Image:
    """Noise in one of Pillow's modes."""
    rng = np.random.default_rng(size)
    height, width = size
    colours = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if mode == "P":
        return colours.quantize(7)
    if mode not in ALPHA:
        return colours.convert(mode)
    if mode == "PA":
        return colours.quantize(7).convert("PA")
    base = "LA" if mode in ("LA", "La") else "RGBA"
    image = colours.convert(base)
    image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)))
    return image if mode == base else image.convert(mode)


@given(mode=st.sampled_from(PLAIN), size=sizes)
def test_other_modes_are_converted_as_pillow_does(mode: str, size: tuple[int, int]) -> None:
    image = made(mode, size)
    assert np.array_equal(open_image(image), image.convert("RGB"))


@given(mode=st.sampled_from(ALPHA), size=sizes)
def test_what_is_transparent_lies_on_white(mode: str, size: tuple[int, int]) -> None:
    image = made(mode, size)
    opened = pixels_of(open_image(image))
    straight = image.convert("LA").convert("RGBA") if mode == "La" else image.convert("RGBA")
    pixels = np.asarray(straight, float)
    alpha = pixels[..., 3:] / 255
    assert np.abs(opened - (pixels[..., :3] * alpha + 255 * (1 - alpha))).max() <= 1
    assert np.array_equal(open_image(np.asarray(straight)), opened)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_palettes_and_files_with_transparency_lie_on_white(kind: str) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    image.putdata([0, 1, 2])
    if kind == "WEBP":
        content = saved(image.convert("RGB").convert("RGBA"), kind, lossless=True)
        solid = Image.open(io.BytesIO(content)).convert("RGBA")
        solid.putpixel((1, 0), (200, 100, 50, 0))
        content = saved(solid, kind, lossless=True, exact=True)
    else:
        content = saved(image, kind, transparency=1)
    opened = pixels_of(open_image(Image.open(io.BytesIO(content))))
    assert opened.tolist() == [[[10, 20, 30], [255] * 3, [0] * 3]]


def inks_profile() -> bytes:
    """An ICC profile of four inks, each of which is mid-grey; all together are black."""
    curve = bytes(range(256))
    white, grey, black = (bytes([level, 128, 128]) for level in (255, 128, 0))  # L*, a*, b*
    matrix = struct.pack(">9i", *[65536, 0, 0, 0, 65536, 0, 0, 0, 65536])
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix
    table += curve * 4 + white + grey * 14 + black + curve * 3
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    head += bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    head += struct.pack(">I4sII", 1, b"A2B0", 144, len(table))
    return struct.pack(">I", len(head) + len(table)) + head[4:] + table


def test_inks_are_shown_by_their_profile() -> None:
    cyan = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    for kind in ("TIFF", "JPEG"):
        content = saved(cyan, kind, icc_profile=inks_profile())
        opened = pixels_of(open_image(Image.open(io.BytesIO(content))))
        assert np.abs(opened - 119).max() <= 4  # mid-grey in sRGB
        assert np.abs(opened - np.asarray(cyan.convert("RGB"), int)).max() > 100


@pytest.mark.parametrize("profile", [b"none", inks_profile()[:200], b"sRGB"])
def test_inks_with_a_wrong_profile_are_converted_as_without(profile: bytes) -> None:
    if profile == b"sRGB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = made("CMYK", (6, 7))
    opened = open_image(Image.open(io.BytesIO(saved(image, "TIFF", icc_profile=profile))))
    assert np.array_equal(opened, image.convert("RGB"))


def test_lab_is_shown_in_its_colours() -> None:
    image = Image.new("LAB", (1, 1), (255 * 53 // 100, 128 + 80, 128 + 67))  # CIELAB's red
    assert np.abs(pixels_of(open_image(image)) - [255, 0, 0]).max() <= 12


def test_of_several_pictures_the_first_is_taken() -> None:
    frames = [Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)]
    for kind in ("GIF", "PNG", "TIFF", "WEBP"):
        more = {"lossless": True} if kind == "WEBP" else {}
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **more)
        expected = Image.open(io.BytesIO(content)).convert("RGB")
        assert np.array_equal(open_image(Image.open(io.BytesIO(content))), expected)


# Keys and descriptions


def kinds() -> dict[str, tuple[bytes, bool]]:
    """Files by name, and whether they are opened as in earlier versions."""
    colours = Image.fromarray(COLOURS)
    deep = Image.fromarray(COLOURS[..., 0].astype(np.uint16))
    inks = colours.convert("CMYK")
    return {
        "jpeg": (saved(colours, "JPEG"), True),
        "upright": (saved(colours, "JPEG", exif=exif(1)), True),
        "png": (saved(colours, "PNG"), True),
        "palette": (saved(colours.quantize(5), "PNG"), True),
        "bits": (saved(colours.convert("1"), "PNG"), True),
        "webp": (saved(colours, "WEBP"), True),
        "gif": (saved(colours, "GIF"), True),
        "tiff": (saved(colours, "TIFF", exif=exif(6)), True),  # which Pillow always turned
        "inks": (saved(inks, "JPEG"), True),
        "no image": (b"no image", True),
        "turned jpeg": (saved(colours, "JPEG", exif=exif(6)), False),
        "turned png": (saved(colours, "PNG", exif=exif(3)), False),
        "turned webp": (saved(colours, "WEBP", exif=exif(2)), False),
        "deep png": (saved(deep, "PNG"), False),
        "deep tiff": (saved(deep, "TIFF"), False),
        "alpha": (saved(colours.convert("RGBA"), "PNG"), False),
        "see-through": (saved(colours.quantize(5), "PNG", transparency=0), False),
        "profile": (saved(inks, "JPEG", icc_profile=inks_profile()), False),
    }


@pytest.mark.parametrize("name", sorted(kinds()))
def test_keys_change_where_pixels_do(name: str, tmp_path: Path) -> None:
    content, is_old = kinds()[name]
    path = written(tmp_path / "x.png", content)
    assert (content_key(path) == hash_content("file", content)) == is_old
    before = f"{tmp_path.name}/x.png:{len(content)}\n".encode()
    assert (describe(path) == before) == is_old
    if name == "no image":
        return
    image = Image.open(path)
    image.load()
    pixels = np.asarray(image)
    before = f"{pixels.shape}{pixels.dtype}".encode() + pixels.tobytes()
    has_palette = image.mode == "P"  # whose numbers say nothing of the colours
    assert (describe(image) == before) == (is_old and not has_palette)
    before = hash_content(f"image {image.size}", image.convert("RGB").tobytes())
    if name != "alpha":  # of which nothing is transparent
        assert (content_key(image) == before) == is_old


def test_keys_of_arrays_change_where_pixels_do() -> None:
    for array in (COLOURS, COLOURS[..., 0]):
        before = f"{array.shape}{array.dtype}".encode() + array.tobytes()
        assert describe(array) == before
        assert content_key(array) == hash_content(
            f"array {array.dtype} {array.shape}", array.tobytes()
        )
    alpha = np.dstack([COLOURS, COLOURS[..., 0]])
    assert describe(alpha) != f"{alpha.shape}{alpha.dtype}".encode() + alpha.tobytes()
    assert content_key(alpha) != hash_content(f"array uint8 {alpha.shape}", alpha.tobytes())


# Arrays and sequences


@given(size=sizes, channels=st.sampled_from([None, 1, 3, 4]), kind=st.sampled_from("?BHf"))
def test_arrays_of_every_type_show_the_same_picture(
    size: tuple[int, int], channels: int | None, kind: str
) -> None:
    shape = size if channels is None else (*size, channels)
    levels = np.random.default_rng(size).integers(0, 2, shape, dtype=np.uint8) * 255
    same = {"?": levels > 0, "B": levels, "H": levels * np.uint16(257), "f": levels / 255}
    opened = rgb_of_array(same[kind])
    assert opened.size == size[::-1]
    assert np.array_equal(opened, rgb_of_array(levels))
    if channels != 4:
        planes = levels.reshape(*size, -1)
        assert np.array_equal(opened, np.broadcast_to(planes, (*size, 3)))


@pytest.mark.parametrize(
    ("array", "mend"),
    [
        (np.zeros((3, 64, 64), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((1, 64, 64), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((64, 64, 2), np.uint8), "uint8 of shape"),
        (np.zeros((2, 8, 8, 3), np.uint8), "uint8 of shape"),
        (np.zeros(8, np.uint8), "uint8 of shape"),
        (np.zeros((), np.uint8), "uint8 of shape"),
        (np.zeros((8, 8), np.int64), "uint8 of shape"),
        (np.zeros((8, 8), np.int8), "uint8 of shape"),
        (np.zeros((8, 8), complex), "uint8 of shape"),
        (np.full((8, 8), None), "uint8 of shape"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.zeros((8, 0), np.uint8), "no pixels"),
        (np.zeros((8, 8, 0), np.uint8), "no pixels"),
    ],
)
def test_other_arrays_are_refused_with_the_mend(array: np.ndarray, mend: str) -> None:
    with pytest.raises(CraftZooError, match=mend):
        open_image(array)


def test_images_without_pixels_are_refused() -> None:
    with pytest.raises(CraftZooError, match="no pixels"):
        open_image(Image.new("RGB", (0, 5)))


class Tensor:
    def numpy(self) -> np.ndarray:
        raise AssertionError


@pytest.mark.parametrize(
    ("source", "mend"),
    [(b"\xff\xd8", r"io\.BytesIO"), (Tensor(), r"\.numpy\(\)"), (None, "path"), (3, "path")],
)
def test_other_sources_are_refused_with_the_mend(source: Any, mend: str) -> None:
    for ask in (open_image, image_size, content_key):
        with pytest.raises(CraftZooError, match=rf"cannot be of type .*{mend}"):
            ask(source)


def test_sequences_of_images() -> None:
    stacked = np.stack([COLOURS, 255 - COLOURS])
    for given_images in (list(stacked), tuple(stacked), stacked, iter(stacked)):
        assert np.array_equal(as_images(given_images), stacked)
    assert as_images(np.array(["a.jpg", "b.jpg"])) == ["a.jpg", "b.jpg"]
    for one in ("a.jpg", Path("a.jpg"), b"\xff\xd8", Image.new("L", (1, 1))):
        with pytest.raises(CraftZooError, match=r"one image was given .* give \["):
            as_images(one)
    for array in (COLOURS, COLOURS[..., 0], np.zeros(3)):
        with pytest.raises(CraftZooError, match=r"array of shape .* instead of a list"):
            as_images(array)
    for other in (None, 5, {"a.jpg"}, {"a.jpg": 1}):
        with pytest.raises(CraftZooError, match="give a list"):
            as_images(other)
    with pytest.raises(CraftZooError, match="no images were given"):
        as_images([])


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_images_of_other_palettes_are_other_images(mode: str) -> None:
    described = set()
    for red in (0, 255):
        image = Image.new("P", (4, 4))
        image.putpalette([red, 0, 0])
        described.add(describe(image.convert("PA") if mode == "PA" else image))
    assert len(described) == 2
