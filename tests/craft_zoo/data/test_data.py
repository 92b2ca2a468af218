"""Digits, few-shot sampling, images, names, augmentation."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from craft_zoo.data import (
    Dataset,
    LabelledImages,
    Task,
    content_key,
    few_shot,
    fingerprint,
    load_dataset,
    open_image,
    readable,
)
from craft_zoo.data.augment import View, augmented, resized_crops
from craft_zoo.errors import CraftZooError
from craft_zoo.tuning import tune


def test_digits_are_dark_on_light_and_complete(digits: Dataset) -> None:
    assert len(digits.train) == 797
    assert len(digits.test) == 1000
    assert digits.classnames[:2] == ("zero", "one")
    image = digits.train.images[0]
    assert isinstance(image, np.ndarray)
    assert image.dtype == np.uint8
    assert image[0, 0] == 255
    assert image.min() < 60


def test_digits_take_words_from_a_file_of_their_labels(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("3\ttriad\n")
    assert load_dataset("digits", classnames=tmp_path / "words.txt").classnames[2:4] == (
        "two",
        "triad",
    )
    (tmp_path / "words.txt").write_text("three\ttriad\n")
    with pytest.raises(CraftZooError, match="has no line for any class: the first is called '0'"):
        load_dataset("digits", classnames=tmp_path / "words.txt")


def test_unknown_data_set_names_the_choices() -> None:
    with pytest.raises(
        CraftZooError,
        match=r"unknown data set 'imagenett': did you mean 'imagenet'\? choose .*digits, .*folder",
    ):
        load_dataset("imagenett")


def test_digits_takes_no_argument() -> None:
    with pytest.raises(CraftZooError, match="no argument"):
        load_dataset("digits:8")


@given(shots=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_few_shot_takes_as_many_distinct_images_of_every_class(
    digits: Dataset, shots: int, seed: int
) -> None:
    task = few_shot(digits, shots, seed)
    assert np.bincount(task.train.labels, minlength=10).tolist() == [shots] * 10
    assert len({id(image) for image in task.train.images}) == 10 * shots
    again = few_shot(digits, shots, seed)
    assert [id(a) for a in task.train.images] == [id(b) for b in again.train.images]
    assert task.test is digits.test


def test_seeds_draw_different_shots(digits: Dataset) -> None:
    one, two = (few_shot(digits, 4, seed).train.images for seed in (1, 2))
    assert [id(a) for a in one] != [id(b) for b in two]


@pytest.mark.parametrize(
    ("shots", "message"),
    [(0, "at least 1"), (100, "has 81 training images, fewer than 100 shots .and 9")],
)
def test_impossible_shots(digits: Dataset, shots: int, message: str) -> None:
    with pytest.raises(CraftZooError, match=message):
        few_shot(digits, shots, 1)


def test_shots_and_seeds_are_whole_numbers_of_numpy_too(digits: Dataset) -> None:
    for shots, seed in ((2.0, 1), ("2", 1), (2, -1), (2, None)):
        with pytest.raises(CraftZooError, match="must be a whole number"):
            few_shot(digits, shots, seed)  # type: ignore[arg-type]
    for sampling in ("uniform", "coop"):
        one, other = (
            few_shot(digits, number(2), number(1), sampling=sampling) for number in (int, np.int64)
        )
        assert list(map(id, one.train.images)) == list(map(id, other.train.images))


def test_every_source_opens_as_rgb(tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    path = tmp_path / "grey.png"
    Image.fromarray(grey).save(path)
    for source in (grey, Image.fromarray(grey), path, str(path)):
        image = open_image(source)
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image)[..., 1], grey)


def test_corrupt_image_is_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:300])
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    for path in (cut, text):
        with pytest.raises(
            CraftZooError, match=rf"image {path} cannot be read .*replace or remove"
        ):
            open_image(path)
    with pytest.raises(CraftZooError, match="does not exist"):
        open_image(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("AnnualCrop", "annual crop"),
        ("cougar_body", "cougar body"),
        ("yin-yang", "yin yang"),
        ("SeaLake", "sea lake"),
        ("DVDPlayer", "dvd player"),
        ("accordion", "accordion"),
        ("Faces easy", "faces easy"),
    ],
)
def test_readable(folder: str, words: str) -> None:
    assert readable(folder) == words


@given(width=st.integers(1, 40), height=st.integers(1, 40), seed=st.integers(0, 1000))
def test_views_keep_the_size_and_depend_on_the_generator_alone(
    width: int, height: int, seed: int
) -> None:
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    )
    one, two = (augmented([image], np.random.default_rng(seed))[0] for _ in range(2))
    assert one.open().size == (width, height)
    assert np.array_equal(np.asarray(one.open()), np.asarray(two.open()))
    assert content_key(one) == content_key(two)


def test_views_are_crops_of_half_to_all_of_the_area() -> None:
    gradient = np.tile(np.arange(0, 200, dtype=np.uint8), (200, 1))
    views = augmented([gradient] * 200, np.random.default_rng(0))
    spans = [np.ptp(np.asarray(view.open())[100, :, 0].astype(int)) for view in views]
    assert max(spans) > 180
    assert 0.5**0.5 * 200 * (3 / 4) ** 0.5 - 5 < min(spans) < 170


class Scripted:
    """A generator of given shares and aspects; its integers are the largest possible."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.numbers.pop(0)

    def integers(self, high: int) -> int:
        return high - 1

    def random(self) -> float:
        return 0.7


def test_released_views_are_torchvisions() -> None:
    """20 x 10 pixels: a first crop of all the area does not fit, one of half of it does."""
    image = np.arange(200, dtype=np.uint8).reshape(10, 20)
    drawn = Scripted(1, 0.5, 0, 0.5)  # shares of [0.5, 1], and of the aspects' logarithms
    [view] = resized_crops([image], drawn, side=7, smallest=0.5)  # type: ignore[arg-type]
    assert (view.box, view.mirrored, view.side) == ((10, 0, 20, 10), False, 7)
    expected = Image.fromarray(image).convert("RGB").crop((10, 0, 20, 10))
    assert np.array_equal(view.open(), expected.resize((7, 7), Image.Resampling.BICUBIC))
    # a strip of 40 x 4, into which no crop fits, is cut to an aspect of 4 : 3
    strip = np.zeros((4, 40), np.uint8)
    [view] = resized_crops([strip], Scripted(*[0.5] * 20), side=7, smallest=0.5)  # type: ignore[arg-type]
    assert view.box == (17, 0, 22, 4)


def test_views_of_files_are_drawn_from_their_headers(image_folder: Path) -> None:
    path = next((image_folder / "train" / "red_square").iterdir())
    of_file, of_pixels = (
        augmented([source], np.random.default_rng(3))[0]
        for source in (path, np.asarray(open_image(path)))
    )
    assert np.array_equal(np.asarray(of_file.open()), np.asarray(of_pixels.open()))


def test_equal_content_has_an_equal_key_and_other_content_another(image_folder: Path) -> None:
    path = next((image_folder / "train" / "red_square").iterdir())
    copy = image_folder / "copy.png"
    copy.write_bytes(path.read_bytes())
    array = np.asarray(open_image(path))
    picture = Image.fromarray(array)
    changed = array.copy()
    changed[0, 0, 0] ^= 1
    flat = array.reshape(array.shape[1], array.shape[0], 3)
    views = [View(path, (0, 0, 8, size), flag) for size in (8, 9) for flag in (True, False)]
    assert content_key(path) == content_key(str(copy))
    assert content_key(array) == content_key(array.copy())
    assert content_key(picture) == content_key(picture.copy())
    kinds = [path, array, changed, flat, picture, picture.convert("P"), *views]
    assert len({content_key(kind) for kind in kinds}) == len(kinds)


def test_fingerprints_are_those_of_runs_that_exist(image_folder: Path, digits: Dataset) -> None:
    # Written down before data sets had validation images.
    assert fingerprint(digits) == "0e60f8d5d5deedb5"
    for path in image_folder.rglob("*.png"):
        path.write_bytes(path.name.encode())
    assert fingerprint(load_dataset(f"folder:{image_folder}")) == "7373b7db8a7a4667"


def test_a_broken_image_is_the_same_error_in_another_process(tmp_path: Path) -> None:
    with pytest.raises(CraftZooError) as caught:
        open_image(tmp_path / "nowhere.jpg")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    "labels", [[1, 0, 1], np.array([1, 0, 1], np.uint8), pd.Series([1, 0, 1], index=[7, 8, 9])]
)
def test_whole_numbers_of_any_type_are_labels(labels: Any) -> None:
    images = LabelledImages(["a", "b", "c"], labels)
    assert images.labels.dtype == np.int64
    assert images.take(np.array([0, 1])).labels.tolist() == [1, 0]


def test_columns_of_a_shuffled_table_stay_paired() -> None:
    table = pd.DataFrame({"path": list("abcdef"), "label": [0, 0, 0, 1, 1, 1]})
    shuffled = table.iloc[[4, 1, 5, 0, 2, 3]]
    images = LabelledImages(shuffled["path"], shuffled["label"])
    names = pd.Series(["dog", "cat"], index=[1, 0])
    task = few_shot(Dataset("pets", names, images, images), shots=2, seed=1)  # type: ignore[arg-type]
    assert task.classnames == ("dog", "cat")
    assert [path in "def" for path in task.train.images] == task.train.labels.tolist()
    assert LabelledImages(shuffled[["path"]], shuffled["label"]).images == list("ebfacd")
    assert LabelledImages((path for path in "ab"), [0, 1]).images == ["a", "b"]  # type: ignore[arg-type]
    assert len(LabelledImages(table["path"][:0], [])) == 0


@pytest.mark.parametrize(
    "labels",
    [[0.0, 1.0], ["cat", "dog"], [-1, 0], [[0, 1], [1, 0]], [[0], [1]], [True, False], [None, 1]],
)
def test_labels_that_are_no_places_in_the_class_names(labels: Any) -> None:
    with pytest.raises(CraftZooError, match="labels must be whole numbers from 0"):
        LabelledImages(["a", "b"], labels)


@pytest.mark.parametrize("kind", [Dataset, Task])
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_labels_from_1_on_are_refused(kind: Any, part: str) -> None:
    parts = dict.fromkeys(("train", "val", "test"), LabelledImages(["a", "b"], [0, 1]))
    with pytest.raises(CraftZooError, match="the label 2 and 2 classes: number labels from 0"):
        kind("pets", ("cat", "dog"), **parts | {part: LabelledImages(["a", "b"], [1, 2])})


@pytest.mark.parametrize("kind", [Dataset, Task])
@pytest.mark.parametrize("names", [{"cat", "dog"}, {"cat": 1, "dog": 0}, "cd"])
def test_class_names_without_an_order_are_refused(kind: Any, names: Any, tiny_vlm: Any) -> None:
    images = LabelledImages(["a.png", "b.png"], np.array([0, 1]))
    with pytest.raises(CraftZooError, match="class names must be a list"):
        kind("pets", names, images, images)
    with pytest.raises(CraftZooError, match="class names must be a list"):
        tiny_vlm.classifier(names)


def test_a_class_without_training_images_is_not_tuned_for(tiny_vlm: Any) -> None:
    images = LabelledImages([np.zeros((8, 8), np.uint8)] * 2, [0, 1])
    with pytest.raises(CraftZooError, match="class 'emu' of pets has no training image"):
        tune(tiny_vlm, Task("pets", ("cat", "dog", "emu"), images, images), method="refine")


@pytest.mark.parametrize("other", [Path("pets"), [("a.png", 0)], None])
def test_data_sets_of_other_libraries_are_refused(other: Any) -> None:
    with pytest.raises(CraftZooError, match=f"not {type(other).__name__}: for images and labels"):
        load_dataset(other)
    with pytest.raises(CraftZooError, match=f"from {type(other).__name__}: make a Dataset"):
        few_shot(other, shots=1, seed=1)
