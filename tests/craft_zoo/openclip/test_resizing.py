"""Memory-saving preprocessing of long thin images gives the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import PIL
import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transform import CenterCropOrPad, ResizeKeepRatio, image_transform
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

from craft_zoo.openclip.resizing import memory_saving

BICUBIC = InterpolationMode.BICUBIC
STEPS = {
    "shortest": [Resize(24, BICUBIC), CenterCrop(24)],
    "shortest, in a list": [Resize([24], InterpolationMode.BILINEAR), CenterCrop((24, 24))],
    "no longer than": [Resize(24, BICUBIC, max_size=100), CenterCrop(24)],
    "shortest, not square": [ResizeKeepRatio((16, 24)), CenterCrop((16, 24))],
    "longest": [ResizeKeepRatio(24, longest=1), CenterCropOrPad(24)],
    "squash": [Resize((24, 24), BICUBIC)],
}


def made(kind: str) -> Callable[[Image.Image], Tensor]:
    return Compose([*STEPS[kind], PILToTensor()])


@given(
    kind=st.sampled_from(sorted(STEPS)),
    short=st.integers(1, 60),
    ratio=st.floats(17, 24),
    is_tall=st.booleans(),
    seed=st.integers(0, 99),
)
def test_thin_images_have_the_pixels_that_the_preprocessing_gives(
    kind: str, short: int, ratio: float, is_tall: bool, seed: int
) -> None:
    long = int(short * ratio) + 1
    size = (long, short) if is_tall else (short, long)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    image, preprocess = Image.fromarray(pixels), made(kind)
    found, expected = (
        np.asarray(each(image), int) for each in (memory_saving(preprocess), preprocess)
    )
    assert found.shape == expected.shape
    # Which direction Pillow resizes first where a tall image shrinks depends on its version, and
    # before version 12 for others too. It matters where values are clipped in between.
    shrinks = is_tall and (kind in ("longest", "squash") or min(expected.shape[1:]) < short)
    if int(PIL.__version__.partition(".")[0]) < 12:
        assert np.abs(found - expected).mean() < 1
    else:
        assert np.abs(found - expected).max() <= (2 if shrinks else 1)
        assert shrinks or (found != expected).mean() < 0.03


@pytest.mark.parametrize("kind", sorted(STEPS))
@pytest.mark.parametrize("size", [(16, 1), (1, 16), (40, 30), (300, 200), (24, 24)])
def test_other_images_are_left_to_the_preprocessing(kind: str, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    assert np.array_equal(memory_saving(made(kind))(image), made(kind)(image))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(1, 200_000), (200_000, 1), (16, 100_000), (100_000, 16)])
def test_no_image_on_the_way_is_larger_than_the_source(mode: str, size: tuple[int, int]) -> None:
    preprocess = memory_saving(image_transform(224, is_train=False, resize_mode=mode))
    sizes: list[int] = []
    resize = Image.Image.resize

    def watched(image: Image.Image, to: tuple[int, int], *rest: object, **more: object) -> object:
        sizes.append(to[0] * max(to[1], image.height))
        return resize(image, to, *rest, **more)  # type: ignore[arg-type]

    with patch.object(Image.Image, "resize", watched):
        tensor = preprocess(Image.new("RGB", size, "red"))
    assert tensor.shape == (3, 224, 224)
    assert 0 < max(sizes) <= max(32 * 224, size[0] * size[1])


def test_what_is_not_known_stays_as_it_is() -> None:
    def own(image: Image.Image) -> Tensor:
        return PILToTensor()(image)

    assert memory_saving(own) is own
    crop = Compose([CenterCrop(5), PILToTensor()])
    assert memory_saving(crop) is crop
