"""How what Pillow decodes becomes 8-bit RGB: the one rule for images from wherever they come.

docs/inputs.md says it in words, in its section "Pixels".
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import ExifTags, Image, ImageCms

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


# By the value of EXIF's tag: what brings the picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})
# Where PNG can hold an orientation, and Pillow finds it only behind the pixels.
_PNG_METADATA = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_ORIENTATION, _SHORT = ExifTags.Base.Orientation, 3
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_CHANNELS = (1, 3, 4)  # of an array: grey, RGB, RGB with alpha
_ROUNDING = 1e-6  # that a float may be outside 0 to 1 by
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF


def orientation_in_file(image: Image.Image) -> int:
    """EXIF's number that stands in an image's metadata as its file had them; 1: upright.

    They are strangers': Pillow's own reader keeps what they refer to, which may be gigabytes.
    """
    if image.format == "TIFF":  # Pillow turns these itself, their size included
        return 1
    exif = image.info.get("exif")
    if exif is None and isinstance(profile := image.info.get("Raw profile type exif"), str):
        try:
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
        except ValueError:
            exif = None
    if isinstance(exif, bytes) and (said := _in_exif(exif)) is not None:
        return said
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    found = _IN_XMP.search(xmp) if isinstance(xmp, bytes) else None
    return int(found[1]) if found else 1


def orientation_in_memory(image: Image.Image) -> int:
    """As :func:`orientation_in_file`, of an image whose metadata may have been changed since."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (ValueError, TypeError, SyntaxError, struct.error):  # garbage leaves a picture as it is
        return 1


def as_rgb(
    image: Image.Image,
    name: object,
    orientation: Callable[[Image.Image], int] = orientation_in_file,
) -> Image.Image:
    """A new 8-bit RGB image, upright, without metadata.

    Args:
        image: as Pillow has opened or made it.
        name: what to call it.
        orientation: tells EXIF's number of the image, once it is loaded.

    Raises:
        BrokenImageError: it has no pixels, or numbers whose range is not known.
        Exception: Pillow's decoder fails, in whichever way it likes.
    """
    if 0 in image.size:
        raise BrokenImageError(f"image {name} has no pixels", "replace or remove it")
    _scale_transparent_colour(image)
    image.load()
    turn = _TURNS.get(orientation(image))
    if image.mode.startswith("I"):
        rgb = _from_integers(image, name).convert("RGB")
    elif image.mode == "F":
        rgb = Image.fromarray(_from_floats(np.asarray(image), name)).convert("RGB")
    elif image.has_transparency_data:
        rgb = _over_white(image)
    elif image.mode == "LAB":
        rgb = _by_profile(image, ImageCms.createProfile("LAB"))
    elif _has_inks_profile(image):
        rgb = _by_profile(image, io.BytesIO(image.info["icc_profile"]))
    elif image.mode == "RGB" and turn is not None:
        rgb = image  # which is copied as it is turned
    else:
        rgb = image.convert("RGB")
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info.clear()  # what it says of orientation and transparency has been done
    return rgb


def rgb_of_array(array: np.ndarray) -> Image.Image:
    """The 8-bit RGB image of an array.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), the last with alpha; uint8, uint16 from
            black at 0 to white at 65,535, bool, or floating-point from black at 0 to white at 1.

    Raises:
        CraftZooError: the array is of another shape or type, or of another range.
    """
    about = f"{array.dtype} of shape {array.shape}"
    is_grey = array.ndim == 2
    if not array.size:
        raise CraftZooError(f"an image array has no pixels ({about}): leave it out")
    if not is_grey and (array.ndim != 3 or array.shape[2] not in _CHANNELS):
        is_channels_first = array.ndim == 3 and array.shape[0] in _CHANNELS
        mend = "use array.transpose(1, 2, 0)" if is_channels_first else "convert it first"
        raise CraftZooError(
            f"an image array must be uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"not {about}: {mend}"
        )
    if array.dtype == np.uint8:
        levels = array
    elif array.dtype == np.bool_:
        levels = array * np.uint8(255)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either order of bytes
        levels = np.array(_levels(65535), np.uint8)[array]
    elif np.issubdtype(array.dtype, np.floating):
        levels = _from_floats(array, "array")
    else:
        raise CraftZooError(
            f"an image array must be uint8 of shape (H, W) or (H, W, 3), or uint16, bool or "
            f"floating-point from 0 to 1, not {about}: convert it with .astype('uint8')"
        )
    flat = levels[..., 0] if not is_grey and array.shape[2] == 1 else levels
    return as_rgb(Image.fromarray(np.ascontiguousarray(flat)), "array")


def steps_of_file(image: Image.Image) -> tuple[str, ...]:
    """See :func:`steps_of_image`, of a file that was opened and not loaded, from its header."""
    return steps_of_image(image, _turn_of_file(image))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height that :func:`as_rgb` gives an image, of a file from its header alone."""
    width, height = image.size
    return (height, width) if _turn_of_file(image) in _ON_ITS_SIDE else (width, height)


def steps_of_image(image: Image.Image, orientation: int) -> tuple[str, ...]:
    """What :func:`as_rgb` does to an image beyond Pillow's conversion to RGB, in a word each.

    Transparency counts where the image provides for it, whether or not a pixel is transparent. An
    ordinary image has no steps.

    Args:
        image: any.
        orientation: EXIF's number.
    """
    steps = []
    if image.mode.startswith("I") or image.mode == "F":
        steps.append("scaled")
    elif image.has_transparency_data:
        steps.append("over white")
    elif _has_inks_profile(image):
        steps.append("by profile")
    if orientation in _TURNS:
        steps.append(f"turned {orientation}")
    return tuple(steps)


def _turn_of_file(image: Image.Image) -> int:
    """The orientation that a file says which was opened and not loaded; 1: upright."""
    if image.format == "PNG" and (file := getattr(image, "fp", None)):
        # Pillow would decode each to see whether something follows its pixels.
        at = file.tell()
        rest = file.read()
        file.seek(at)
        if any(mark in rest for mark in _PNG_METADATA):
            image.load()
    return orientation_in_file(image)


def _in_exif(exif: bytes) -> int | None:
    """The orientation in the first directory of EXIF data; None where there is none."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, directory)
        for entry in range(entries):
            at = directory + 2 + 12 * entry
            tag, kind, _, number = struct.unpack_from(f"{order}HHIH", exif, at)
            if tag == _ORIENTATION and kind == _SHORT:
                return int(number)
    except struct.error:  # it is cut off
        pass
    return None


def _has_inks_profile(image: Image.Image) -> bool:
    return image.mode == "CMYK" and bool(image.info.get("icc_profile"))


def _scale_transparent_colour(image: Image.Image) -> None:
    """Where Pillow scales a file's numbers to 8 bits, make the colour that is transparent follow.

    The colour's own numbers are as the file has them. Only known until the image is loaded.
    """
    colour, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    if image.format != "PNG" or colour is None or not tiles:
        return
    raw = tiles[0].args
    if raw in ("L;2", "L;4") and isinstance(colour, int):
        image.info["transparency"] = colour * (85 if raw == "L;2" else 17)
    elif raw == "RGB;16B":
        image.info["transparency"] = tuple(number >> 8 for number in colour)


def _from_integers(image: Image.Image, name: object) -> Image.Image:
    """Grey of an image of more than 8 bits, whose range is that of the file's bits."""
    # Pillow has mode I of files of 16 bits, too, besides those of 32.
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise BrokenImageError(
            f"image {name} has whole numbers whose range is not known (Pillow's mode I)",
            "save it with 8 or 16 bits a pixel, without sign",
        )
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0] if image.format == "TIFF" else 16
    levels = _levels(2**bits - 1)
    if image.format == "TIFF" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = levels[::-1]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and 0 <= transparent < len(levels):
        levels = levels.copy()
        levels[transparent] = 255
    # Pillow's point takes 10 ms to read so long a table.
    return Image.fromarray(levels[np.asarray(image.convert("I")).clip(0, 65535)])


@lru_cache(maxsize=4)
def _levels(white: int) -> np.ndarray:
    """The level of 0 to 255 for each number of 16 bits, where so much is white."""
    numbers = np.minimum(np.arange(65536), white)
    return ((numbers * 255 + white // 2) // white).astype(np.uint8)


def _from_floats(numbers: np.ndarray, name: object) -> np.ndarray:
    """Levels uint8 of numbers from 0 to 1."""
    low, high = float(numbers.min()), float(numbers.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN included
        raise BrokenImageError(
            f"image {name} has floating-point numbers from {low:g} to {high:g}",
            "scale them from 0 (black) to 1 (white), or save it with 8 bits a pixel",
        )
    # In one precision, so that a picture has the same levels in whichever it comes.
    return np.rint(np.multiply(np.clip(numbers, 0, 1), 255, dtype=np.float64)).astype(np.uint8)


def _over_white(image: Image.Image) -> Image.Image:
    """RGB over a white ground, as on a page."""
    if image.mode == "La":  # which is converted to LA alone
        image = image.convert("LA")
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image)
    return ground


def _by_profile(image: Image.Image, profile: io.BytesIO | ImageCms.core.CmsProfile) -> Image.Image:
    try:
        converted = ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):  # the profile is damaged, or for other inks
        return image.convert("RGB")
    assert converted is not None
    return converted
