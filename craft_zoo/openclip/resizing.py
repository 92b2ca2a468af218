"""Memory-saving preprocessing of long thin images: only the part that is kept is resized.

Preprocessing scales the short side to the model's input size and then crops the centre. An image of
64 x 524,288 pixels would be scaled to 224 x 1,835,008 before the crop.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from open_clip.transform import CenterCropOrPad, ResizeKeepRatio
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, Resize
from torchvision.transforms.functional import pil_modes_mapping

_THIN = 16  # ratio of the sides up to which the original preprocessing is used
_REACH = 3  # radius in pixels of the largest filter in Pillow (Lanczos)

Preprocess = Callable[[Image.Image], Tensor]


def memory_saving(preprocess: Preprocess) -> Preprocess:
    """Wrap a preprocessing so that thin images need no more memory than others.

    Images with a ratio of sides up to 16 are passed to ``preprocess``. For others, pixel values
    differ by at most one level of 256, because filters round differently (with Pillow before
    version 12 by one in the mean, as it resizes the directions in another order).

    Args:
        preprocess: PIL image → tensor (3, H, W). Preprocessings other than open_clip's are
            returned unchanged.
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
        # The offsets of the crop are rounded as in torchvision.
        left, top = round((resized[0] - width) / 2), round((resized[1] - height) / 2)
        return rest(_part(image, resized, (left, top, left + width, top + height), resample))

    return prepare


def _resized_size(resize: Resize | ResizeKeepRatio, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height to which a preprocessing step resizes an image."""
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
    """The part ``window`` (left, top, right, bottom) of the image that
    :meth:`PIL.Image.Image.resize` would return for the size ``resized``."""
    left, top, right, bottom = window
    crop_left, crop_right, *across = _source(image.width, resized[0], left, right)
    crop_top, crop_bottom, *down = _source(image.height, resized[1], top, bottom)
    part = image.crop((crop_left, crop_top, crop_right, crop_bottom))
    # The axes are resized in Pillow's order, which matters where values are clipped in between. A
    # tall image that shrinks has too many rows to be widened first.
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
    """Begin and end of the source pixels that the filter reads for the pixels from ``first`` to
    ``last`` of a resized side, and begin and end of the resized pixels in source coordinates
    relative to that begin, as Pillow uses single precision."""
    scale = source / resized
    reach = math.ceil(_REACH * max(1.0, scale)) + 1
    begin, end = max(0, int(first * scale) - reach), min(source, math.ceil(last * scale) + reach)
    return begin, end, first * scale - begin, last * scale - begin
