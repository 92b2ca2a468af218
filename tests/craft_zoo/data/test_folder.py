"""folder:PATH on generated folders."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from craft_zoo.data import few_shot, fingerprint, load_dataset
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.printable import printable


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


NUMBERED = {
    "CUB": ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"),
    "Stanford Dogs": ("n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02085936-Maltese_dog"),
    "ImageNet": ("n02085620", "n02085782", "n02085936"),
}
NOT_NUMBERED = {
    "doors": ("2-door", "4-door", "convertible"),
    "doors alone": ("2-door", "4-door", "5-door"),
    "equal": ("3_wheels", "3_doors", "4_doors"),
    "aircraft": ("747-SP", "A320", "n123456789"),
}


def _rename_classes(folder: Path, names: tuple[str, ...]) -> str:
    for part in ("train", "test"):
        for old, new in zip(("GreenField", "blue-sky", "red_square"), names, strict=True):
            (folder / part / old).rename(folder / part / new)
    return f"folder:{folder}"


@pytest.mark.parametrize("names", NUMBERED.values(), ids=NUMBERED)
def test_numbers_of_folders_are_warned_of_and_stay_in_the_words(
    image_folder: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    spec = _rename_classes(image_folder, names)
    words = names[0].replace("_", " ").replace("-", " ").lower()
    message = rf"class '{names[0]}' by the words '{words}'.* \(--classnames FILE\)"
    with pytest.warns(CraftZooWarning, match=message) as caught:
        dataset = load_dataset(spec)
    assert len(caught) == 1
    assert dataset.classnames[0] == words  # part of the identity of stored runs
    (tmp_path / "names.txt").write_text("".join(f"{name}\tbird {name}\n" for name in names))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_dataset(spec, classnames=tmp_path / "names.txt")


@pytest.mark.parametrize("names", NOT_NUMBERED.values(), ids=NOT_NUMBERED)
def test_numbers_that_are_names_are_not_warned_of(
    image_folder: Path, names: tuple[str, ...]
) -> None:
    spec = _rename_classes(image_folder, names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_dataset(spec)


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
        r"skip_bad=True \(--skip-bad\)",
    ):
        load_dataset(f"folder:{image_folder}")
    dataset = load_dataset(f"folder:{image_folder}", skip_bad=True)
    assert dataset.skipped == (f"image {stray} lies in no class folder",)
    assert len(dataset.train) == 12


def test_files_that_are_no_images_are_counted_and_those_of_systems_passed_over(
    image_folder: Path,
) -> None:
    whole = fingerprint(load_dataset(f"folder:{image_folder}"))
    for folder in (image_folder, image_folder / "train", image_folder / "test" / "blue-sky"):
        for name in ("README.md", ".DS_Store", "Thumbs.db", "._00.png"):
            (folder / name).write_text("no image")
        (folder / ".cache").mkdir()
    (image_folder / "train" / "blue-sky" / "folder.png").mkdir()
    dataset = load_dataset(f"folder:{image_folder}", skip_bad=True)
    assert fingerprint(dataset) == whole
    (sentence,) = dataset.skipped
    assert sentence.startswith("3 files ending in .md have no image file extension, the first /")


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


def test_images_may_lie_below_their_class_folder(image_folder: Path) -> None:
    for folder in sorted((image_folder / "train").iterdir()):
        (folder / "more" / "still").mkdir(parents=True)
        (folder / "03.png").rename(folder / "more" / "still" / "03.png")
        (folder / "more" / "round").symlink_to(folder, target_is_directory=True)
        for name in ("@eaDir", "__MACOSX", ".ipynb_checkpoints"):
            shutil.copytree(folder / "more" / "still", folder / name)
    dataset = load_dataset(f"folder:{image_folder}")
    assert np.bincount(dataset.train.labels).tolist() == [4, 4, 4]
    assert dataset.skipped == ()
    assert "@eaDir" not in str(dataset.train.images)


@pytest.mark.parametrize("link", ["train/loop", "train/blue-sky/loop", "train/blue-sky/a/loop"])
@pytest.mark.parametrize("to", ["train", ""])
def test_a_class_has_no_images_of_all_classes_by_a_link(
    image_folder: Path, link: str, to: str
) -> None:
    (image_folder / "train" / "blue-sky" / "a").mkdir()
    (image_folder / link).symlink_to(image_folder / to, target_is_directory=True)
    with pytest.raises(CraftZooError, match="loop is a link to a folder that contains it"):
        load_dataset(f"folder:{image_folder}")


@pytest.mark.parametrize("root", [".", "train/..", "link", "link/train/.."])
def test_a_folder_may_be_given_by_another_path(
    root: str, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image_folder.parent / "link").symlink_to(image_folder, target_is_directory=True)
    monkeypatch.chdir(image_folder.parent if root.startswith("link") else image_folder)
    assert len(load_dataset(f"folder:{root}").train) == 12


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("Train", "Valid", "TEST"), ("training", "dev", "testing"), ("train", "validation", "test")],
)
def test_splits_by_other_names(image_folder: Path, train: str, val: str, test: str) -> None:
    shutil.copytree(image_folder / "test", image_folder / "v")
    whole = load_dataset(f"folder:{image_folder}")
    for old, new in (("train", train), ("v", val), ("test", test)):
        (image_folder / old).rename(image_folder / new)
    (image_folder / "unlabelled").mkdir()
    dataset = load_dataset(f"folder:{image_folder}")
    assert len(whole.skipped) == 1
    assert [len(dataset.train), len(dataset.test)] == [12, 9]
    assert dataset.val is not None
    assert len(dataset.val) == 9
    (sentence,) = dataset.skipped
    assert sentence.startswith(f"folder {image_folder / 'unlabelled'} is none of ")
    shutil.copytree(image_folder / val, image_folder / "VAL")
    with pytest.raises(CraftZooError, match=r"has both .*: keep one for val"):
        load_dataset(f"folder:{image_folder}")


def test_validation_images_are_for_testing_where_no_others_are(image_folder: Path) -> None:
    (image_folder / "test").rename(image_folder / "val")
    dataset = load_dataset(f"folder:{image_folder}")
    assert dataset.val is None
    assert {Path(str(image)).parts[-3] for image in dataset.test.images} == {"val"}


def test_a_class_may_be_called_as_a_split(image_folder: Path) -> None:
    root = image_folder / "train"
    (root / "blue-sky").rename(root / "train")
    assert "train" in load_dataset(f"folder:{root}").classnames


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train_set", "test_set"),
        ("trainset", "valset"),
        ("seg_train", "seg_test"),
        ("train2017", "val2017"),
        ("TrainImages", "TestImages"),
        ("training_set/training_set", "test_set/test_set"),
    ],
)
def test_splits_of_other_names_are_no_classes(
    image_folder: Path, tmp_path: Path, train: str, test: str
) -> None:
    for old, new in (("train", train), ("test", test)):
        shutil.copytree(image_folder / old, tmp_path / "renamed" / new)
    shutil.copytree(image_folder / "train", tmp_path / "renamed" / "seg_pred")
    with pytest.raises(CraftZooError, match=r"are splits by their names .* \(manifest:FILE\)"):
        load_dataset(f"folder:{tmp_path / 'renamed'}")


def test_splits_without_class_folders_are_no_classes(image_folder: Path) -> None:
    root = image_folder / "train"
    shutil.move(root / "GreenField", image_folder / "GreenField")
    rename_classes(root, {"blue-sky": "train", "red_square": "test"})
    with pytest.raises(CraftZooError, match=r"folders 'test' and 'train' in .* are splits"):
        load_dataset(f"folder:{root}")
    shutil.move(image_folder / "GreenField", root / "GreenField")
    assert len(load_dataset(f"folder:{root}").classnames) == 3


@pytest.mark.parametrize("other", ["Blue-Sky", "blue_sky", "BlueSky", "blue-sky "])
def test_a_class_under_two_names_is_named(image_folder: Path, other: str) -> None:
    (image_folder / "test" / "blue-sky").rename(image_folder / "test" / other)
    with pytest.raises(CraftZooError, match="give a class the same name in all splits"):
        load_dataset(f"folder:{image_folder}")


def test_splits_below_the_class_folders_are_not_mixed(image_folder: Path) -> None:
    for name in ("train", "test"):
        shutil.copytree(image_folder / "test" / "blue-sky", image_folder / "train" / "sea" / name)
    with pytest.raises(CraftZooError, match=r"sea holds a folder 'train' .*train/ and test/ inst"):
        load_dataset(f"folder:{image_folder / 'train'}")


def rename_classes(root: Path, names: dict[str, str]) -> str:
    for old, new in names.items():
        (root / old).rename(root / new)
    return f"folder:{root}"


@pytest.mark.parametrize("name", ["1", "010", "-", "__", "+", "!?", "\u200b", "½", "true"])
def test_folders_whose_names_say_nothing_need_words(
    image_folder: Path, tmp_path: Path, name: str
) -> None:
    spec = rename_classes(image_folder / "train", {"red_square": name})
    with pytest.raises(
        CraftZooError, match=r"says nothing of .*give words with classnames \(--classnames FILE\)"
    ):
        load_dataset(spec)
    names = tmp_path / "names.txt"
    names.write_text(f"GreenField\tgreen\nblue-sky\tblue\n{name}\t7\n", encoding="utf-8")
    assert "7" in load_dataset(spec, classnames=names).classnames


def test_numbered_folders_are_in_the_order_of_their_numbers(
    image_folder: Path, tmp_path: Path
) -> None:
    spec = rename_classes(
        image_folder / "train", {"red_square": "10", "blue-sky": "9", "GreenField": "1"}
    )
    (tmp_path / "names.txt").write_text("1\ta\n9\tb\n10\tc\n")
    dataset = load_dataset(spec, classnames=tmp_path / "names.txt")
    assert dataset.classnames == ("a", "b", "c")
    assert Path(str(dataset.train.images[-1])).parent.name == "10"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cat", "cat"),
        ("a_b", "a-b"),
        ("ＣＡＴ", "cat"),
        ("cat ", "cat"),
        ("ca\u200bt", "cat"),
        ("m²", "m2"),
        ("a & b", "a &amp; b"),
    ],
)
def test_folders_that_read_alike_are_both_named(image_folder: Path, one: str, other: str) -> None:
    spec = rename_classes(image_folder / "train", {"red_square": one, "blue-sky": other})
    with pytest.raises(CraftZooError) as caught:
        load_dataset(spec)
    for name in (one, other):
        assert repr(printable(name)) in str(caught.value)
    assert "--classnames" in str(caught.value)


def test_normal_forms_of_one_folder_name(image_folder: Path, tmp_path: Path) -> None:
    """Each split may have been packed by another system; in one split nobody can tell them."""
    rename_classes(image_folder / "train", {"red_square": "cafe\u0301"})
    rename_classes(image_folder / "test", {"red_square": "caf\u00e9"})
    dataset = load_dataset(f"folder:{image_folder}")
    assert "café" in dataset.classnames
    names = tmp_path / "names.txt"
    names.write_bytes("GreenField\tg\r\nblue-sky\tb\r\ncafe\u0301\tc\r\n".encode("utf-16"))
    assert load_dataset(f"folder:{image_folder}", classnames=names).classnames == ("g", "b", "c")
    rename_classes(image_folder / "train", {"blue-sky": "caf\u00e9"})
    with pytest.raises(CraftZooError, match="two class folders 'café', which differ in the Unic"):
        load_dataset(f"folder:{image_folder}")


def test_names_that_are_no_utf_8(image_folder: Path) -> None:
    (image_folder / "train/red_square/00.png").rename(image_folder / "train/red_square/é\udce9.png")
    broken = image_folder / "test/red_square/\udcff.png"
    broken.write_text("no image")
    (broken.parent / "\udcfe.txt").touch()
    dataset = load_dataset(f"folder:{image_folder}", skip_bad=True)
    assert len(fingerprint(dataset)) == 16
    assert len(dataset.train) == 12
    assert len(dataset.skipped) == 2
    text = " ".join(dataset.skipped)
    assert "ff.png cannot be read" in text
    assert text.isprintable()
    assert r"\xfe.txt" in text
    rename_classes(image_folder / "train", {"red_square": "caf\udce9"})
    with pytest.raises(CraftZooError, match=r"caf\\xe9' is no UTF-8: rename its folder"):
        load_dataset(f"folder:{image_folder / 'train'}")


def test_a_class_of_images_that_cannot_be_opened_here(image_folder: Path) -> None:
    for folder in (image_folder / "train").iterdir():
        (folder / "raw.CR2").touch()
    dataset = load_dataset(f"folder:{image_folder / 'train'}")
    assert len(dataset.skipped) == 3
    assert all("raw.CR2 is of a format that cannot" in one for one in dataset.skipped)
    for path in (image_folder / "train" / "blue-sky").glob("*.png"):
        path.unlink()
    with pytest.raises(CraftZooError, match=r"no images that can be opened here \(convert it to"):
        load_dataset(f"folder:{image_folder / 'train'}")


def test_copies_of_training_images_among_the_test_images_are_warned_of(
    image_folder: Path,
) -> None:
    dataset = load_dataset(f"folder:{image_folder}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few_shot(dataset, 4, seed=1)
    first, second = (dataset.train.images[i] for i in (0, 4))
    for number, file in enumerate((first, second)):
        Path(str(dataset.test.images[number])).write_bytes(Path(str(file)).read_bytes())
    opened = load_dataset(f"folder:{image_folder}")
    with pytest.warns(CraftZooWarning, match="2 test images are copies of drawn training images"):
        few_shot(opened, 4, seed=1)


def test_copies_among_the_drawn_images_are_warned_of_and_kept(image_folder: Path) -> None:
    """As in a folder whose small classes were filled up with copies."""
    first, second, *_ = sorted((image_folder / "train" / "blue-sky").iterdir())
    second.write_bytes(first.read_bytes())
    dataset = load_dataset(f"folder:{image_folder}")
    said = rf"1 of 12 training images of colours is a copy of images of the same class.*{second}"
    with pytest.warns(CraftZooWarning, match=said):
        task = few_shot(dataset, 4, seed=1)
    assert np.bincount(task.train.labels).tolist() == [4, 4, 4]  # as the protocol draws them
    repeated = few_shot(dataset, 5, seed=1, fewer="repeat")  # as Dassl draws them
    assert np.bincount(repeated.train.labels).tolist() == [5, 5, 5]
    (image_folder / "train" / "red_square" / "00.png").write_bytes(first.read_bytes())
    with pytest.warns(CraftZooWarning, match="is a copy of images of another") as said:
        few_shot(load_dataset(f"folder:{image_folder}"), 4, seed=1)
    assert len(said) == 2
