"""Images that cannot be opened."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from craft_zoo.data import Dataset, LabelledImages, find_broken, load_dataset
from craft_zoo.data.broken import without_broken
from craft_zoo.errors import CraftZooError


def damage(folder: Path) -> dict[str, str]:
    """Damage four files in different ways; returns file name → part of the message."""
    whole = (folder / "00.png").read_bytes()
    (folder / "00.png").write_bytes(whole[: len(whole) // 2])
    (folder / "01.png").write_text("no image")
    (folder / "02.png").write_bytes(b"")
    (folder / "03.png").unlink()
    (folder / "03.png").symlink_to(folder / "nowhere.png")
    return {
        "00.png": "cannot be read (image file is truncated",
        "01.png": "cannot be read (cannot identify image file",
        "02.png": "cannot be read (cannot identify image file",
        "03.png": "does not exist",
    }


def test_every_kind_of_broken_image_is_found_and_named(image_folder: Path) -> None:
    folder = image_folder / "train" / "red_square"
    faults = damage(folder)
    sound = image_folder / "train" / "blue-sky" / "00.png"
    images = [sound, *(folder / name for name in faults), np.zeros((4, 4), np.uint8), np.zeros(3)]
    seen: list[int] = []
    found = find_broken(images, seen.append)
    assert list(found) == [1, 2, 3, 4, 6]
    for index, (name, fault) in enumerate(faults.items(), start=1):
        assert found[index].startswith(f"image {folder / name} {fault}")
        assert "replace or remove" not in found[index]
    assert seen == list(range(1, 8))


def test_decompression_bombs_are_broken(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)  # Pillow refuses twice as many, 1920 > 1800
    (fault,) = find_broken([image_folder / "train" / "red_square" / "00.png"]).values()
    assert "decompression bomb" in fault


@pytest.mark.filterwarnings("ignore")  # Pillow tells of damage in its own ways too
@pytest.mark.parametrize("kind", ["jpg", "png", "bmp", "gif", "tif", "webp"])
def test_damaged_files_of_any_kind_are_sentences_and_never_other_errors(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**5)  # sizes are damaged too
    rng = np.random.default_rng(0)
    whole = tmp_path / f"whole.{kind}"
    Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(whole)
    content = np.frombuffer(whole.read_bytes(), np.uint8)
    paths = []
    for i in range(60):
        changed = content[: rng.integers(len(content))] if i % 3 == 0 else content.copy()
        at = rng.integers(0, min(len(changed), 120), 4) if len(changed) else []
        if i % 3:
            changed[at] = rng.integers(0, 256, 4)
        paths.append(tmp_path / f"{i}.{kind}")
        paths[-1].write_bytes(changed.tobytes())
    found = find_broken([whole, *paths])
    assert 0 not in found
    assert len(found) > 10
    assert all(sentence.startswith("image ") for sentence in found.values())


def test_broken_images_are_left_out_where_that_is_asked(image_folder: Path) -> None:
    folder = image_folder / "train" / "red_square"
    shutil.copytree(folder, image_folder / "val" / "red_square")
    shutil.copytree(folder, image_folder / "val" / "blue-sky")
    damage(image_folder / "val" / "red_square")
    (folder / "02.png").write_text("no image")
    broken = image_folder / "test" / "blue-sky" / "01.png"
    broken.write_text("no image")
    dataset = load_dataset(f"folder:{image_folder}", skip_bad=True)
    assert np.bincount(dataset.train.labels).tolist() == [4, 4, 3]
    assert np.bincount(dataset.test.labels).tolist() == [3, 2, 3]
    assert dataset.val is not None
    assert np.bincount(dataset.val.labels, minlength=3).tolist() == [0, 4, 0]
    assert broken not in dataset.test.images
    assert len(dataset.skipped) == 6
    assert dataset.skipped[0].startswith(f"image {folder / '02.png'} cannot be read (")
    # Without the flag nothing is opened, so nothing is found.
    assert len(load_dataset(f"folder:{image_folder}").train) == 12


@pytest.mark.parametrize(("split", "kind"), [("train", "training"), ("test", "test")])
def test_a_class_of_broken_images_alone_is_named(image_folder: Path, split: str, kind: str) -> None:
    for path in (image_folder / split / "blue-sky").iterdir():
        path.write_text("no image")
    with pytest.raises(CraftZooError, match=f"class 'blue sky' of colours has no {kind} image"):
        load_dataset(f"folder:{image_folder}", skip_bad=True)


def test_parts_of_what_is_left(image_folder: Path) -> None:
    (image_folder / "train" / "red_square" / "02.png").write_text("no image")
    dataset = load_dataset(f"folder:{image_folder}@base", skip_bad=True)
    assert dataset.classnames == ("green field", "blue sky")
    assert len(dataset.skipped) == 1
    assert dataset.whole is not None
    assert len(dataset.whole.train) == 11


def test_validation_images_that_are_all_broken_are_none(image_folder: Path) -> None:
    sound = LabelledImages([np.zeros((4, 4), np.uint8)] * 2, np.array([0, 1]))
    bad = LabelledImages([image_folder / "nowhere.png"], np.array([0]))
    left = without_broken(Dataset("made", ("a", "b"), sound, sound, bad))
    assert left.val is None
    assert left.skipped == (f"image {image_folder / 'nowhere.png'} does not exist",)
