"""Every published data set, read from a tiny copy of its layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

import craft_zoo as cz
from craft_zoo.adapter import Adapter
from craft_zoo.data import LabelledImages, dataset_names, few_shot, load_dataset, open_image
from craft_zoo.data.published import published_datasets
from craft_zoo.openclip import OpenCLIP

TRAINED = {
    "imagenet": ("tench", "missile", "projectile"),
    "caltech101": ("face", "leopard", "yin yang"),
    "oxford_pets": ("abyssinian", "american bulldog", "yorkshire terrier"),
    "stanford_cars": (
        "2000 AM General Hummer SUV",
        "2012 Acura RL Sedan",
        "2012 smart fortwo Convertible",
    ),
    "oxford_flowers": ("pink primrose", "hard-leaved pocket orchid", "canterbury bells"),
    "food101": ("apple pie", "baby back ribs", "waffles"),
    "fgvc_aircraft": ("707-320", "Boeing 717", "F/A-18"),
    "sun397": ("abbey", "indoor airport", "youth hostel"),
    "dtd": ("banded", "polka-dotted", "zigzagged"),
    "eurosat": ("Annual Crop Land", "Forest", "Sea or Lake"),
    "ucf101": ("Apply Eye Makeup", "Archery", "Yo Yo"),
    "cifar10": ("airplane", "automobile", "bird"),
    "cifar100": ("apple", "aquarium fish", "baby"),
    "svhn": tuple("0123456789"),
    "resisc45": ("airplane", "baseball diamond", "wetland"),
    "clevr": ("10", "3", "4"),
}
SHIFTS = {
    "imagenetv2": ("tench", "missile", "projectile"),
    "imagenet-sketch": ("tench", "missile", "projectile"),
    "imagenet-a": ("tench", "projectile"),
    "imagenet-r": ("tench", "projectile"),
}
WITHOUT_VAL = {"imagenet", "cifar10", "cifar100", "svhn"}
WITH_SPLIT = [
    name
    for name, published in published_datasets().items()
    if published.split is not None and published.split.endswith(".json")
]


def test_all_are_registered_and_described() -> None:
    assert set(published_datasets()) == {*TRAINED, *SHIFTS}
    described = dataset_names()
    for name, published in published_datasets().items():
        assert published.title in described[name]
        assert f"{published.sizes.test:,} test images" in described[name]


@pytest.mark.parametrize("name", [*TRAINED, *SHIFTS])
def test_names_counts_and_template(published_root: Path, name: str) -> None:
    dataset = load_dataset(name, root=published_root)
    classnames = (TRAINED | SHIFTS)[name]
    n = len(classnames)
    assert dataset.name == name
    assert dataset.classnames == classnames
    assert dataset.template == published_datasets()[name].template
    assert dataset.template is not None
    assert dataset.template.format("x") != dataset.template
    assert dataset.skipped == ()
    assert np.bincount(dataset.test.labels).tolist() == [2] * n
    assert dataset.test.labels.dtype == dataset.train.labels.dtype == np.int64
    if name in SHIFTS:
        assert len(dataset.train) == 0
        assert dataset.val is None
        return
    assert np.bincount(dataset.train.labels).tolist() == [3] * n
    if name in WITHOUT_VAL:
        assert dataset.val is None
    else:
        assert dataset.val is not None
        assert np.bincount(dataset.val.labels).tolist() == [2] * n


@pytest.mark.parametrize("name", [*TRAINED, *SHIFTS])
def test_every_image_has_the_colour_of_its_class(published_root: Path, name: str) -> None:
    """The layouts' images have a colour a class, ImageNet's shifts those of ImageNet's classes."""
    dataset = load_dataset(name, root=published_root)
    known = load_dataset("imagenet", root=published_root) if name in SHIFTS else dataset
    colours = {
        classname: _colours(known.train, label).mean(axis=0)
        for label, classname in enumerate(known.classnames)
    }
    for part in (dataset.train, dataset.val, dataset.test):
        for label, classname in enumerate(dataset.classnames):
            for colour in _colours(part, label):
                nearest = min(colours, key=lambda name: np.abs(colours[name] - colour).max())
                assert nearest == classname


def _colours(part: LabelledImages | None, label: int) -> np.ndarray:
    """(N, 3) means of the class's images."""
    images = [] if part is None else part.take(np.flatnonzero(part.labels == label)).images
    means = [np.asarray(open_image(image)).mean(axis=(0, 1)) for image in images]
    return np.array(means).reshape(-1, 3)


@pytest.mark.parametrize("name", WITH_SPLIT)
def test_a_split_file_is_read_in_its_own_order(published_root: Path, name: str) -> None:
    published = published_datasets()[name]
    split_path = published.split_path(published_root)
    assert split_path is not None
    split = json.loads(split_path.read_text())
    dataset = load_dataset(name, root=published_root)
    for key, part in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
        assert part is not None
        folder = published.image_folder(published_root)
        assert [Path(str(image)) for image in part.images] == [
            folder / path for path, _, _ in split[key]
        ]
        assert part.labels.tolist() == [label for _, label, _ in split[key]]
        assert part.labels.tolist() != sorted(part.labels)


def test_aircraft_is_read_in_the_order_of_its_lists(published_root: Path) -> None:
    dataset = load_dataset("fgvc_aircraft", root=published_root)
    lines = (published_root / "fgvc_aircraft" / "images_variant_val.txt").read_text().splitlines()
    assert dataset.val is not None
    for image, label, line in zip(dataset.val.images, dataset.val.labels, lines, strict=True):
        assert f"{Path(str(image)).stem} {dataset.classnames[label]}" == line


def test_cifars_pixels_are_red_green_and_blue_planes(published_root: Path) -> None:
    for name, file, before in (
        ("cifar10", "cifar-10-batches-bin/data_batch_2.bin", 1),
        ("cifar100", "cifar-100-binary/train.bin", 2),
    ):
        raw = np.fromfile(published_root / file, dtype=np.uint8)
        dataset = load_dataset(name, root=published_root)
        index = 2 if name == "cifar10" else 0
        image = dataset.train.images[index]
        assert isinstance(image, np.ndarray)
        assert image.shape == (32, 32, 3)
        assert dataset.train.labels[index] == raw[before - 1]
        for y, x, channel in ((0, 0, 0), (3, 17, 1), (31, 30, 2)):
            assert image[y, x, channel] == raw[before + 1024 * channel + 32 * y + x]


def test_label_ten_of_svhn_is_the_digit_0(published_root: Path) -> None:
    content = loadmat(published_root / "svhn" / "test_32x32.mat")
    dataset = load_dataset("svhn", root=published_root)
    ten = np.flatnonzero(content["y"].ravel() == 10)
    assert dataset.test.labels[ten].tolist() == [0, 0]
    assert np.array_equal(np.asarray(dataset.test.images[ten[0]]), content["X"][..., ten[0]])


def test_the_root_may_come_from_the_environment(
    published_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAFT_ZOO_DATA", str(published_root))
    assert load_dataset("dtd").classnames == TRAINED["dtd"]


@pytest.mark.parametrize("name", TRAINED)
def test_zero_shot_and_craft_run(published_root: Path, tiny_vlm: OpenCLIP, name: str) -> None:
    task = few_shot(load_dataset(name, root=published_root), shots=1, seed=1)
    assert task.template == published_datasets()[name].template
    for method in ("zero-shot", "craft"):
        steps: list[cz.Step] = []
        tuned = cz.tune(
            tiny_vlm,
            task,
            method=method,
            budget=41,
            optimizer="cma:popsize=20",
            callbacks=[steps.append],
        )
        probabilities = tuned.adapter.predict(tiny_vlm, task.test.images)
        assert probabilities.shape == (2 * len(task.classnames), len(task.classnames))
        assert np.isfinite(probabilities).all()
        if method == "craft":
            assert tuned.meter.queries <= 41
            assert len({step.queries for step in steps if step.queries}) >= 2


@pytest.fixture(scope="module")
def imagenet_adapter(published_root: Path, vlm: OpenCLIP) -> Adapter:
    """An adapter of a method without a search, so that threads do not change it."""
    task = few_shot(load_dataset("imagenet", root=published_root), shots=2, seed=1)
    return cz.tune(vlm, task, method="anchors").adapter


@pytest.mark.parametrize("name", SHIFTS)
def test_an_imagenet_adapter_is_evaluated_under_shift_by_class_names(
    published_root: Path, vlm: OpenCLIP, imagenet_adapter: Adapter, name: str
) -> None:
    shift = load_dataset(name, root=published_root)
    columns = [imagenet_adapter.classnames.index(words) for words in shift.classnames]
    assert columns == sorted(columns)
    probabilities = imagenet_adapter.predict(vlm, shift.test.images)[:, columns]
    assert probabilities.shape == (len(shift.test), len(shift.classnames))
    # The shifted images have the colours that ImageNet's classes were tuned on.
    assert (probabilities.argmax(axis=1) == shift.test.labels).mean() > 0.5
