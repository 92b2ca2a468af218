"""Training images that look like versions of one another."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

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


@pytest.mark.parametrize(
    "version",
    [
        cropped,
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.transpose(Image.Transpose.ROTATE_90),
        lambda image: image.resize((50, 40)),
    ],
)
def test_versions_are_warned_of_unless_they_have_groups(
    version: Callable[[Image.Image], Image.Image],
) -> None:
    images = [*PHOTOS, *map(version, PHOTOS)]
    labels, groups = np.tile(LABELS, 2), np.tile(np.arange(12), 2)
    match = r"24 of 24 training images of leaves look like versions .* image 0 and image 12\)"
    with pytest.warns(CraftZooWarning, match=match):
        warn_of_versions(LabelledImages(images, labels), "leaves")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_versions(LabelledImages(images, labels, groups), "leaves")
        warn_of_versions(LabelledImages(images, np.arange(24)), "leaves")


def test_unrelated_images_are_not_warned_of(digits: Dataset) -> None:
    flat = [np.full((9, 9, 3), shade, np.uint8) for shade in range(20)]
    broken = [Path("nowhere.png"), Path("nowhere.jpg")]
    several = [
        few_shot(digits, 40, seed=1).train,
        LabelledImages(PHOTOS, np.zeros(12, int)),
        LabelledImages([*flat, *broken], np.zeros(22, int)),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for images in several:
            warn_of_versions(images, "unrelated")


def test_of_many_images_the_first_classes_are_looked_at(tmp_path: Path) -> None:
    for place, photo in enumerate(PHOTOS):
        photo.resize((300, 300)).save(tmp_path / f"{place}.jpg")
        cropped(photo).save(tmp_path / f"{place} again.png")
    related = sorted(tmp_path.glob("*"))
    images = LabelledImages([*related, *["nowhere.png"] * 150], np.repeat([0, 1], [24, 150]))
    with pytest.warns(CraftZooWarning, match="24 training images of leaves that were looked at"):
        warn_of_versions(images, "leaves")


def test_tune_warns_once(tiny_vlm: OpenCLIP) -> None:
    train = LabelledImages([*PHOTOS, *map(cropped, PHOTOS)], np.tile(LABELS, 2))
    task = Task("leaves", ("a", "b", "c"), train, train.take(np.zeros(0, np.int64)))
    with pytest.warns(CraftZooWarning, match="give related images a common group"):
        cz.tune(tiny_vlm, task, method="refine", budget=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*common group")
        list(cross_validate(tiny_vlm, task, method="refine", budget=1))
