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
        width, height = _resized_size(resize, image.size)
        size = (width, height) if kept is None else (min(width, kept[1]), min(height, kept[0]))
        return rest(_middle(image, (width, height), size, resample))

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


def _middle(
    image: Image.Image,
    resized: tuple[int, int],
    kept: tuple[int, int],
    resample: Image.Resampling,
) -> Image.Image:
    """What is kept in the middle of an image that is resized.

    Args:
        image: of any size.
        resized: width and height that the whole would have.
        kept: width and height of the middle.
        resample: the filter.
    """
    spans, crops = [], []
    for source, whole, part in zip(image.size, resized, kept, strict=True):
        first = int(round((whole - part) / 2))  # as torchvision places it
        scale = source / whole
        start, stop = first * scale, (first + part) * scale
        reach = math.ceil(_REACH * max(1.0, scale)) + 1
        crop = max(0, math.floor(start) - reach), min(source, math.ceil(stop) + reach)
        # Counted from the crop, as Pillow takes the box in single precision.
        spans.append((start - crop[0], stop - crop[0]))
        crops.append(crop)
    (left, right), (top, bottom) = spans
    part_of = image.crop((crops[0][0], crops[1][0], crops[0][1], crops[1][1]))
    if part_of.height > _THIN * kept[1]:  # its rows first, of which Pillow would enlarge each
        box = (0, top, part_of.width, bottom)
        part_of = part_of.resize((part_of.width, kept[1]), resample, box=box)
        top, bottom = 0, kept[1]
    return part_of.resize(kept, resample, box=(left, top, right, bottom))
