"""Conversion of decoded images to 8-bit RGB.

The section "Pixels" of docs/inputs.md describes the rules.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from craft_zoo.errors import CraftZooError


class BrokenImageError(CraftZooError):
    """One image is missing or cannot be read.

    Attributes:
        fault: a sentence that names the image and what is wrong.
        mend: a remedy.
    """

    def __init__(self, fault: str, mend: str) -> None:
        super().__init__(fault, mend)  # pickling calls the constructor with these arguments
        self.fault = fault
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.fault}: {self.mend}"


# Value of EXIF's tag Orientation → the operation that makes the image upright.
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
# PNG chunks that can contain an orientation, possibly after the pixels.
_PNG_METADATA = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_ORIENTATION, _SHORT = ExifTags.Base.Orientation, 3
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_CHANNELS = (1, 3, 4)  # of arrays: grey, RGB, RGB with alpha
_ROUNDING = 1e-6  # tolerance of floats outside [0, 1]
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF tags and a value


def orientation_in_file(image: Image.Image) -> int:
    """EXIF orientation (1 to 8) from the metadata of an image file; 1: upright.

    The metadata are untrusted: Pillow's reader would load the values of all tags, which may take
    gigabytes of memory.
    """
    if image.format == "TIFF":  # Pillow itself rotates TIFF images
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
    """EXIF orientation of an image in memory, whose metadata may have been edited."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (ValueError, TypeError, SyntaxError, struct.error):  # corrupt metadata
        return 1


def as_rgb(
    image: Image.Image,
    name: object,
    orientation: Callable[[Image.Image], int] = orientation_in_file,
) -> Image.Image:
    """A new 8-bit RGB image, upright, without metadata.

    Args:
        image: a Pillow image, from a file or created in memory.
        name: name of the image in messages.
        orientation: returns the EXIF orientation of the loaded image.

    Raises:
        BrokenImageError: the image has no pixels, or values of unknown range.
        Exception: Pillow's decoder fails.
    """
    if 0 in image.size:
        raise BrokenImageError(f"image {name} has no pixels", "replace or remove it")
    _scale_transparent_colour(image)
    image.load()
    turn = _TURNS.get(orientation(image))
    if image.mode.startswith("I"):
        rgb = _from_levels(_from_integers(image, name), image)
    elif image.mode == "F":
        rgb = _from_levels(_from_floats(np.asarray(image), name), image)
    elif image.has_transparency_data:
        rgb = _over_white(image)
    elif image.mode == "LAB":
        rgb = _by_profile(image, ImageCms.createProfile("LAB"))
    elif _has_inks_profile(image):
        rgb = _by_profile(image, io.BytesIO(image.info["icc_profile"]))
    elif image.mode == "RGB" and turn is not None:
        rgb = image  # transpose below makes the copy
    else:
        rgb = image.convert("RGB")
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info.clear()  # orientation and transparency have been applied
    return rgb


def rgb_of_array(array: np.ndarray) -> Image.Image:
    """The 8-bit RGB image of an array.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), the last with alpha; uint8, uint16 from
            black at 0 to white at 65,535, bool, or floating-point from black at 0 to white at 1.

    Raises:
        CraftZooError: the array has another shape, type or range.
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
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:  # of any byte order
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


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image after :func:`as_rgb`; only reads the header of a file."""
    width, height = image.size
    return (height, width) if turn_of_file(image) in _ON_ITS_SIDE else (width, height)


def steps_of_image(image: Image.Image, orientation: int) -> tuple[str, ...]:
    """Names of the operations of :func:`as_rgb` beyond Pillow's conversion to RGB.

    "over white" is included if the image has transparency data, even if all pixels are opaque. An
    ordinary image has no steps.

    Args:
        image: any image.
        orientation: its EXIF orientation.
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


def turn_of_file(image: Image.Image) -> int:
    """EXIF orientation of an image file that was opened but not decoded; 1: upright."""
    if image.format == "PNG" and (file := getattr(image, "fp", None)):
        # Pillow must decode an image to read chunks after its pixels, so only do it if needed.
        at = file.tell()
        rest = file.read()
        file.seek(at)
        if any(mark in rest for mark in _PNG_METADATA):
            image.load()
    return orientation_in_file(image)


def _in_exif(exif: bytes) -> int | None:
    """The orientation in the first directory of EXIF data; None if it is missing."""
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
    except struct.error:  # truncated data
        pass
    return None


def _has_inks_profile(image: Image.Image) -> bool:
    return image.mode == "CMYK" and bool(image.info.get("icc_profile"))


def _scale_transparent_colour(image: Image.Image) -> None:
    """Scale the transparent colour of a PNG to 8 bits, as Pillow scales only the pixels.

    Must be called before the image is loaded, as Pillow then discards the file's bit depth.
    """
    colour, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    if image.format != "PNG" or colour is None or not tiles:
        return
    raw = tiles[0].args
    if raw in ("L;2", "L;4") and isinstance(colour, int):
        image.info["transparency"] = colour * (85 if raw == "L;2" else 17)
    elif raw == "RGB;16B":
        image.info["transparency"] = tuple(number >> 8 for number in colour)


def _from_levels(levels: np.ndarray, source: Image.Image) -> Image.Image:
    """RGB image of grey levels; inverted if 0 is white in the source, a TIFF file."""
    if isinstance(source, TiffImageFile) and source.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = 255 - levels
    return Image.fromarray(levels).convert("RGB")


def _from_integers(image: Image.Image, name: object) -> np.ndarray:
    """uint8 levels of an image of more than 8 bits, whose range is given by its bit depth."""
    # Mode I has 32 bits, but Pillow also uses it for 16-bit PNG and PPM files.
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise BrokenImageError(
            f"image {name} has whole numbers whose range is not known (Pillow's mode I)",
            "save it with 8 or 16 bits a pixel, without sign",
        )
    bits = image.tag_v2[_BITS_PER_SAMPLE][0] if isinstance(image, TiffImageFile) else 16
    levels = _levels(2**bits - 1)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and 0 <= transparent < len(levels):
        levels = levels.copy()
        levels[transparent] = 255
    # Image.point would take 10 ms to read a table of 65,536 levels.
    return levels[np.asarray(image.convert("I")).clip(0, 65535)]


@lru_cache(maxsize=4)
def _levels(white: int) -> np.ndarray:
    """The 8-bit level of each 16-bit value, where ``white`` maps to 255."""
    numbers = np.minimum(np.arange(65536), white)
    return ((numbers * 255 + white // 2) // white).astype(np.uint8)


def _from_floats(numbers: np.ndarray, name: object) -> np.ndarray:
    """uint8 levels of floating-point values in [0, 1]."""
    low, high = float(numbers.min()), float(numbers.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN included
        raise BrokenImageError(
            f"image {name} has floating-point numbers from {low:g} to {high:g}",
            "scale them from 0 (black) to 1 (white), or save it with 8 bits a pixel",
        )
    # Always in float64, so that the levels do not depend on the input's precision.
    return np.rint(np.multiply(np.clip(numbers, 0, 1), 255, dtype=np.float64)).astype(np.uint8)


def _over_white(image: Image.Image) -> Image.Image:
    """The RGB image composited over a white background."""
    if image.mode == "La":  # Pillow converts La only to LA
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
    except (ImageCms.PyCMSError, OSError):  # the profile is damaged or for another colour space
        return image.convert("RGB")
    assert converted is not None
    return converted
