"""Training images that look like versions of one another."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import craft_zoo as cz
from craft_zoo.data import Dataset, LabelledImages, Task, few_shot
from craft_zoo.data.dead_leaves import dead_leaves
from craft_zoo.data.versions import warn_of_versions
from craft_zoo.errors import CraftZooWarning
from craft_zoo.estimate import cross_validate
from craft_zoo.openclip import OpenCLIP

PHOTOS = [Image.fromarray(np.asarray(each)) for each in dead_leaves(12)]
LABELS = np.arange(12) % 3


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    part = image.crop((1, 1, width - 1, height - 1)).resize(image.size)
    return ImageEnhance.Brightness(part).enhance(0.9)


def leaves(images: Sequence[Any], labels: np.ndarray, groups: Any = None) -> Task:
    """A task of training images alone."""
    train = LabelledImages(images, labels, groups)
    names = tuple(f"leaf {label}" for label in range(int(labels.max()) + 1))
    return Task("leaves", names, train, train.take(np.zeros(0, np.int64)))


VERSIONS = pytest.mark.parametrize(
    "version",
    [
        cropped,
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.transpose(Image.Transpose.ROTATE_90),
        lambda image: image.resize((50, 40)),
    ],
)


@VERSIONS
def test_versions_are_warned_of_unless_they_have_groups(
    version: Callable[[Image.Image], Image.Image],
) -> None:
    images = [*PHOTOS, *map(version, PHOTOS)]
    labels, groups = np.tile(LABELS, 2), np.tile(np.arange(12), 2)
    match = r"24 of 24 compared training images .* versions of another \(image 0 of image 12\)"
    with pytest.warns(CraftZooWarning, match=match):
        warn_of_versions(leaves(images, labels))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_versions(leaves(images, labels, groups))
        warn_of_versions(leaves(images, labels, np.arange(24)))
        warn_of_versions(leaves(images, np.arange(24)))


def test_versions_among_test_images_are_warned_of() -> None:
    task = leaves(PHOTOS, LABELS, np.arange(12))
    tested = LabelledImages([*map(cropped, PHOTOS)], LABELS)
    match = r"12 of 12 compared test images .* versions of training images \(image 0 of image 0\)"
    with pytest.warns(CraftZooWarning, match=match):
        warn_of_versions(replace(task, test=tested))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_versions(replace(task, test=replace(tested, labels=(LABELS + 1) % 3)))


def test_unrelated_images_are_not_warned_of(digits: Dataset) -> None:
    flat = [np.full((9, 9, 3), shade, np.uint8) for shade in range(20)]
    broken = [Path("nowhere.png"), Path("nowhere.jpg")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_versions(few_shot(digits, 40, seed=1))
        warn_of_versions(leaves(PHOTOS, np.zeros(12, int)))
        warn_of_versions(leaves([*flat, *broken], np.zeros(22, int)))


def test_of_many_images_the_first_classes_are_compared(tmp_path: Path) -> None:
    for place, photo in enumerate(PHOTOS):
        photo.resize((300, 300)).save(tmp_path / f"{place}.jpg")
        cropped(photo).save(tmp_path / f"{place} again.png")
    images = [*["nowhere.png"] * 150, *sorted(tmp_path.glob("*"))]
    match = r"24 of 24 compared training images .*0 again.png of .*0.jpg"
    with pytest.warns(CraftZooWarning, match=match):
        warn_of_versions(leaves(images, np.repeat([1, 0], [150, 24])))


def test_tune_warns_once(tiny_vlm: OpenCLIP) -> None:
    task = leaves([*PHOTOS, *map(cropped, PHOTOS)], np.tile(LABELS, 2))
    with pytest.warns(CraftZooWarning, match="give related images a common group"):
        cz.tune(tiny_vlm, task, method="refine", budget=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*common group")
        list(cross_validate(tiny_vlm, task, method="refine", budget=1))
