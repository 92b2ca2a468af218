"""Long thin images are resized within what is kept of them.

A preprocessing enlarges the short side to the model's size, the long side with it, and then keeps
the middle: of 64 x 524,288 pixels it would make 224 x 1,835,008.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from open_clip.transform import CenterCropOrPad, ResizeKeepRatio
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, Resize
from torchvision.transforms.functional import pil_modes_mapping

_THIN = 16  # times as long as wide; what is less is left to the preprocessing itself
_REACH = 3  # pixels around its place that the widest of Pillow's filters looks at

Preprocess = Callable[[Image.Image], Tensor]


def sparing(preprocess: Preprocess) -> Preprocess:
    """The same preprocessing, which takes no more memory for a thin image than for another.

    Images up to 16 times as long as wide are prepared by ``preprocess`` itself. Others differ by a
    level of 256, if at all, as filters round differently.

    Args:
        preprocess: PIL image → tensor (3, H, W). Known are those of open_clip's models; any other
            is returned as it is.
    """
    steps = preprocess.transforms if isinstance(preprocess, Compose) else ()
    if not steps or not isinstance(steps[0], Resize | ResizeKeepRatio):
        return preprocess
    resize, rest = steps[0], Compose(steps[1:])
    kept = steps[1].size if isinstance(steps[1], CenterCrop | CenterCropOrPad) else None
    resample = Image.Resampling(pil_modes_mapping[resize.interpolation])

    def prepare(image: Image.Image) -> Tensor:
        if max(image.size) <= _THIN * min(image.size):
            return preprocess(image)
        resized = _resized_size(resize, image.size)
        width, height = resized
        if kept is not None:
            width, height = min(width, kept[1]), min(height, kept[0])
        # Rounded as torchvision does.
        left, top = round((resized[0] - width) / 2), round((resized[1] - height) / 2)
        return rest(_part(image, resized, (left, top, left + width, top + height), resample))

    return prepare


def _resized_size(resize: Resize | ResizeKeepRatio, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height that a step of preprocessing resizes an image to."""
    width, height = size
    if isinstance(resize, ResizeKeepRatio):
        target_height, target_width = resize.size
        ratios = height / target_height, width / target_width
        ratio = max(ratios) * resize.longest + min(ratios) * (1 - resize.longest)
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    if not isinstance(resize.size, int) and len(resize.size) == 2:
        return resize.size[1], resize.size[0]
    short = resize.size if isinstance(resize.size, int) else resize.size[0]
    long = int(short * max(size) / min(size))
    if resize.max_size is not None and long > resize.max_size:
        short, long = max(1, int(resize.max_size * short / long)), resize.max_size
    return (short, long) if width <= height else (long, short)


def _part(
    image: Image.Image,
    resized: tuple[int, int],
    window: tuple[int, int, int, int],
    resample: Image.Resampling,
) -> Image.Image:
    """A part of the image that :meth:`PIL.Image.Image.resize` makes, without the rest.

    Args:
        image: of any size.
        resized: width and height that the whole would have.
        window: left, top, right and bottom of the part.
        resample: the filter.
    """
    left, top, right, bottom = window
    crop_left, crop_right, *across = _source(image.width, resized[0], left, right)
    crop_top, crop_bottom, *down = _source(image.height, resized[1], top, bottom)
    part = image.crop((crop_left, crop_top, crop_right, crop_bottom))
    # One direction after the other, as Pillow does: the order shows where levels are clipped
    # between. The rows of a tall image that shrinks would be too many to be enlarged first.
    is_tall = image.height > max(image.width, resized[1])
    for is_vertical in (True, False) if is_tall else (False, True):
        if is_vertical:
            rows = (0, down[0], part.width, down[1])
            part = part.resize((part.width, bottom - top), resample, box=rows)
        else:
            columns = (across[0], 0, across[1], part.height)
            part = part.resize((right - left, part.height), resample, box=columns)
    return part


def _source(source: int, resized: int, first: int, last: int) -> tuple[int, int, float, float]:
    """What pixels from ``first`` up to ``last`` of a resized side come from.

    Returns:
        Where all that a filter looks at begins and ends in the source, and where the pixels' own
        places do, counted from there, as Pillow takes these in single precision.
    """
    scale = source / resized
    reach = math.ceil(_REACH * max(1.0, scale)) + 1
    begin, end = max(0, int(first * scale) - reach), min(source, math.ceil(last * scale) + reach)
    return begin, end, first * scale - begin, last * scale - begin
