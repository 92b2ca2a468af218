"""folder:PATH on generated folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from craft_zoo.data import fingerprint, load_dataset
from craft_zoo.errors import CraftZooError


def test_train_and_test_folders_are_read_in_sorted_order(image_folder: Path) -> None:
    dataset = load_dataset(f"folder:{image_folder}")
    assert dataset.name == "colours"
    assert dataset.classnames == ("green field", "blue sky", "red square")
    assert len(dataset.train) == 12
    assert len(dataset.test) == 9
    for images in (dataset.train, dataset.test):
        folders = [Path(str(image)).parent.name for image in images.images]
        expected = [["GreenField", "blue-sky", "red_square"][label] for label in images.labels]
        assert folders == expected


def test_one_folder_is_halved_the_same_way_for_the_same_seed(image_folder: Path) -> None:
    spec = f"folder:{image_folder / 'train'}"
    first, again = load_dataset(spec), load_dataset(spec)
    other = load_dataset(spec, split_seed=1)
    assert list(first.test.images) == list(again.test.images)
    assert list(first.test.images) != list(other.test.images)
    assert not set(first.train.images) & set(first.test.images)
    assert np.bincount(first.train.labels).tolist() == [2, 2, 2]
    assert np.bincount(first.test.labels).tolist() == [2, 2, 2]


def test_class_names_come_from_a_file(image_folder: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text(
        "# colours\nGreenField\ta green field\nblue-sky the sky\n\nred_square\ta box\n"
    )
    dataset = load_dataset(f"folder:{image_folder}", classnames=names)
    assert dataset.classnames == ("a green field", "the sky", "a box")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("GreenField\ta\nblue-sky\tb\n", "no line for class 'red_square'"),
        ("GreenField\n", "line 1: expected"),
        ("GreenField\ta\nblue-sky\ta\nred_square\tb\n", "class name 'a' twice"),
    ],
)
def test_bad_class_names_files(
    image_folder: Path, tmp_path: Path, content: str, message: str
) -> None:
    names = tmp_path / "names.txt"
    names.write_text(content)
    with pytest.raises(CraftZooError, match=message):
        load_dataset(f"folder:{image_folder}", classnames=names)


def test_missing_class_names_file(image_folder: Path) -> None:
    with pytest.raises(CraftZooError, match=r"nowhere\.txt cannot be read"):
        load_dataset(f"folder:{image_folder}", classnames=image_folder / "nowhere.txt")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CraftZooError, match="nowhere does not exist"):
        load_dataset(f"folder:{tmp_path / 'nowhere'}")


def test_no_path() -> None:
    with pytest.raises(CraftZooError, match="needs a path"):
        load_dataset("folder")


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_class_folder_names_the_path(image_folder: Path, split: str) -> None:
    shutil.rmtree(image_folder / split / "blue-sky")
    with pytest.raises(CraftZooError, match=f"{split}/blue-sky is missing"):
        load_dataset(f"folder:{image_folder}")


@pytest.mark.parametrize(("split", "lacking"), [("train", "test"), ("test", "train")])
def test_one_split_without_the_other(image_folder: Path, split: str, lacking: str) -> None:
    shutil.rmtree(image_folder / lacking)
    with pytest.raises(CraftZooError, match=f"no '{lacking}'"):
        load_dataset(f"folder:{image_folder}")


def test_empty_class_folder(image_folder: Path) -> None:
    (image_folder / "train" / "empty").mkdir()
    with pytest.raises(CraftZooError, match="empty holds no images"):
        load_dataset(f"folder:{image_folder}")


@pytest.mark.parametrize("place", [".", "train", "test", "train/red_square"])
def test_images_outside_class_folders(image_folder: Path, place: str) -> None:
    stray = image_folder / place / "stray.png"
    shutil.copy(image_folder / "train" / "red_square" / "00.png", stray)
    if place == "train/red_square":
        assert len(load_dataset(f"folder:{image_folder}").train) == 13
        return
    with pytest.raises(
        CraftZooError,
        match=r"image .*stray\.png lies in no class folder: move it into a class folder or add "
        r"--skip-bad",
    ):
        load_dataset(f"folder:{image_folder}")
    dataset = load_dataset(f"folder:{image_folder}", skip_bad=True)
    assert dataset.skipped == (f"image {stray} lies in no class folder",)
    assert len(dataset.train) == 12


def test_files_that_are_no_images_are_passed_over(image_folder: Path) -> None:
    whole = fingerprint(load_dataset(f"folder:{image_folder}"))
    for folder in (image_folder, image_folder / "train", image_folder / "test" / "blue-sky"):
        for name in ("README.md", ".DS_Store", "Thumbs.db", "._00.png"):
            (folder / name).write_text("no image")
        (folder / ".cache").mkdir()
    (image_folder / "train" / "blue-sky" / "folder.png").mkdir()
    dataset = load_dataset(f"folder:{image_folder}", skip_bad=True)
    assert fingerprint(dataset) == whole
    assert dataset.skipped == ()


def test_names_that_read_the_same(image_folder: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(image_folder / split / "red_square", image_folder / split / "RedSquare")
    with pytest.raises(CraftZooError, match=r"class name 'red square' twice: .*--classnames"):
        load_dataset(f"folder:{image_folder}")


def test_validation_images_are_read_where_they_are(image_folder: Path) -> None:
    shutil.copytree(image_folder / "test", image_folder / "val")
    shutil.rmtree(image_folder / "val" / "GreenField")
    dataset = load_dataset(f"folder:{image_folder}")
    assert dataset.val is not None
    assert dataset.val.labels.tolist() == [1, 1, 1, 2, 2, 2]
    assert Path(str(dataset.val.images[0])).parent == image_folder / "val" / "blue-sky"
    (image_folder / "val" / "blue-sky").rename(image_folder / "val" / "sea")
    with pytest.raises(CraftZooError, match="train/sea is missing"):
        load_dataset(f"folder:{image_folder}")


def test_empty_class_folders_are_left_out_where_that_is_asked(image_folder: Path) -> None:
    for split in ("train", "test"):
        (image_folder / split / "empty").mkdir()
    dataset = load_dataset(f"folder:{image_folder}", skip_bad=True)
    assert len(dataset.classnames) == 3
    assert len(dataset.skipped) == 2
    assert dataset.skipped[0] == f"class folder {image_folder / 'train' / 'empty'} holds no images"


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_without_images_in_one_split_is_named(image_folder: Path, split: str) -> None:
    shutil.rmtree(image_folder / split / "blue-sky")
    (image_folder / split / "blue-sky").mkdir()
    with pytest.raises(CraftZooError, match=f"{split}/blue-sky holds no images: create it with"):
        load_dataset(f"folder:{image_folder}", skip_bad=True)


def test_a_folder_of_images_without_classes(image_folder: Path) -> None:
    with pytest.raises(CraftZooError, match="holds 0 class folders"):
        load_dataset(f"folder:{image_folder / 'train' / 'blue-sky'}")


def test_a_class_of_one_image_cannot_be_split(image_folder: Path) -> None:
    for path in sorted((image_folder / "train" / "blue-sky").iterdir())[1:]:
        path.unlink()
    with pytest.raises(CraftZooError, match="'blue-sky' has one image"):
        load_dataset(f"folder:{image_folder / 'train'}")
