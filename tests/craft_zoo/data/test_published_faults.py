"""Error messages for missing and malformed parts of published data sets."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from craft_zoo.data import Dataset, load_dataset
from craft_zoo.data.published import published_datasets
from craft_zoo.data.published.split import parse_split
from craft_zoo.errors import CraftZooError

ALL = list(published_datasets())
PETS = "split_zhou_OxfordPets.json"


@dataclass
class Copies:
    """Copies of data sets that a test may damage."""

    root: Path
    source: Path

    def add(self, name: str) -> Path:
        """Copy a data set; returns its folder."""
        folder = published_datasets()[name].folder
        return Path(shutil.copytree(self.source / folder, self.root / folder))

    def load(self, name: str, **options: Any) -> Dataset:
        return load_dataset(name, root=self.root, **options)


@pytest.fixture
def copies(tmp_path: Path, published_root: Path) -> Copies:
    return Copies(tmp_path / "data", published_root)


@pytest.mark.parametrize("name", ALL)
def test_no_root(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRAFT_ZOO_DATA", raising=False)
    folder = published_datasets()[name].folder
    with pytest.raises(
        CraftZooError,
        match=rf"^data set {name} needs its folder: add root \(--data-root DIR\), the "
        rf"folder that holds {folder}/$",
    ):
        load_dataset(name)


@pytest.mark.parametrize("name", ALL)
def test_an_empty_root(name: str, tmp_path: Path) -> None:
    published = published_datasets()[name]
    with pytest.raises(CraftZooError, match=f"data set {name} needs ") as caught:
        load_dataset(name, root=tmp_path)
    found = re.fullmatch(
        r"data set \S+ needs (\S+), which is missing: download it from (https?://[^\s,]+)"
        r"(, or add download=True \(--download\))? \(docs/datasets\.md\)",
        str(caught.value),
    )
    assert found is not None
    assert found[1].startswith(str(tmp_path / published.folder))
    assert found[2] in (published.images_from, published.split_from)


def test_takes_no_argument(published_root: Path) -> None:
    with pytest.raises(CraftZooError, match="'dtd' takes no argument: leave out 'x'"):
        load_dataset("dtd:x", root=published_root)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("oxford_pets", PETS),
        ("oxford_pets", "images"),
        ("stanford_cars", "cars_test"),
        ("fgvc_aircraft", "variants.txt"),
        ("fgvc_aircraft", "images_variant_val.txt"),
        ("imagenet", "classnames.txt"),
        ("imagenet", "images/val"),
        ("cifar10", "data_batch_4.bin"),
        ("cifar100", "fine_label_names.txt"),
        ("svhn", "test_32x32.mat"),
    ],
)
def test_a_missing_file_or_folder_is_named(copies: Copies, name: str, path: str) -> None:
    lost = copies.add(name) / path
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    with pytest.raises(CraftZooError, match=f"needs {re.escape(str(lost))}, which is missing"):
        copies.load(name)


@pytest.mark.parametrize("name", ["oxford_pets", "fgvc_aircraft", "resisc45"])
def test_missing_images_are_counted_or_left_out_and_named(copies: Copies, name: str) -> None:
    copies.add(name)
    whole = copies.load(name)
    assert whole.val is not None
    lost = [Path(str(image)) for image in (whole.train.images[1], whole.val.images[0])]
    for path in lost:
        path.unlink()
    message = rf"^2 of 21 images of data set {name} are missing, the first {lost[0]}: get them "
    with pytest.raises(CraftZooError, match=message):
        copies.load(name)
    part = copies.load(name, skip_bad=True)
    assert part.skipped == tuple(f"image {path} does not exist" for path in lost)
    assert list(part.train.images) == [*whole.train.images[:1], *whole.train.images[2:]]
    assert part.train.labels.tolist() == np.delete(whole.train.labels, 1).tolist()
    assert part.val is not None
    assert len(part.val) == 5
    assert part.classnames == whole.classnames


def test_a_class_without_training_images_cannot_be_skipped(copies: Copies) -> None:
    shutil.rmtree(copies.add("dtd") / "images" / "banded")
    with pytest.raises(CraftZooError, match="class 'banded' of dtd has no training image left"):
        copies.load("dtd", skip_bad=True)


def test_validation_images_may_all_be_missing(copies: Copies) -> None:
    copies.add("dtd")
    val = copies.load("dtd").val
    assert val is not None
    for image in val.images:
        Path(str(image)).unlink()
    part = copies.load("dtd", skip_bad=True)
    assert part.val is None
    assert len(part.skipped) == 6


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        ("[]", "a JSON object was expected, found list"),
        ('{"train": []}', "it has no list 'test'"),
        ('{"train": [], "val": 3, "test": []}', "it has no list 'val'"),
        ('{"train": [], "test": []}', "0 labels .* 0 is missing"),
        ('{"train": [["a.jpg", 0]], "test": []}', "entry 0 of 'train' is .*, not .path, label"),
        ('{"train": [["a.jpg", "0", "a"]], "test": []}', "entry 0 of 'train'"),
        ('{"train": [["a.jpg", true, "a"]], "test": []}', "entry 0 of 'train'"),
        ('{"train": [["a.jpg", 0, "a"], ["b.jpg", 2, "b"]], "test": []}', "1 is missing"),
        ('{"train": [["a.jpg", 1, "a"]], "test": [["b.jpg", 2, "b"]]}', "0 is missing"),
        (
            '{"train": [["a.jpg", 0, "a"]], "test": [["b.jpg", 0, "b"]]}',
            "label 0 has two names, 'a' and 'b'",
        ),
    ],
)
def test_a_malformed_split_file(copies: Copies, content: str | bytes, reason: str) -> None:
    path = copies.add("oxford_pets") / PETS
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        CraftZooError,
        match=rf"^split file {path} is malformed \(.*{reason}.*\): download it again from https://",
    ):
        copies.load("oxford_pets")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["train", "test"]), inner)
    ),
)


@given(content=_JSON)
def test_whatever_stands_in_a_split_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "split.json"
    path.write_text(json.dumps(content))
    try:
        parts, names = parse_split(path, published_datasets()["dtd"])
    except CraftZooError:
        return
    assert {label for part in parts.values() for _, label, _ in part} == set(range(len(names)))


@given(
    labels=st.lists(st.integers(0, 4), min_size=1).filter(
        lambda labels: set(labels) == set(range(max(labels) + 1))
    ),
    cut=st.integers(0, 30),
)
def test_classes_are_in_the_order_of_their_labels_wherever_they_first_occur(
    tmp_path_factory: pytest.TempPathFactory, labels: list[int], cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "split.json"
    entries = [[f"{i}.jpg", label, "abcde"[label]] for i, label in enumerate(labels)]
    path.write_text(json.dumps({"train": entries[:cut], "test": entries[cut:]}))
    parts, names = parse_split(path, published_datasets()["dtd"])
    assert names == list("abcde"[: max(labels) + 1])
    assert [label for key in ("train", "test") for _, label, _ in parts[key]] == labels


def test_raw_folder_names_become_the_words_that_the_field_reads(copies: Copies) -> None:
    for name, renamed in (
        ("eurosat", {"Annual Crop Land": "AnnualCrop", "Sea or Lake": "SeaLake"}),
        ("caltech101", {"face": "Faces", "leopard": "Leopards"}),
    ):
        folder = copies.add(name)
        path = folder / str(published_datasets()[name].split)
        before = copies.load(name).classnames
        text = path.read_text()
        for words, raw in renamed.items():
            text = text.replace(f'"{words}"', f'"{raw}"')
        assert text != path.read_text()
        path.write_text(text)
        assert copies.load(name).classnames == before


@pytest.mark.parametrize(
    ("name", "line", "label", "words"),
    [
        ("oxford_pets", "american_bulldog\tbig dog", 1, "big dog"),
        ("stanford_cars", "2012 Acura RL Sedan\tAcura", 1, "Acura"),
        ("imagenet", "n03773504 rocket", 1, "rocket"),
        ("imagenet-r", "n04008634 shell", 1, "shell"),
        ("imagenetv2", "n04008634 shell", 2, "shell"),
        ("svhn", "0 zero", 0, "zero"),
        ("cifar100", "aquarium_fish goldfish", 1, "goldfish"),
    ],
)
def test_a_file_of_class_names_has_the_last_word(
    published_root: Path, tmp_path: Path, name: str, line: str, label: int, words: str
) -> None:
    file = tmp_path / "names.txt"
    file.write_text(f"{line}\n")
    own = load_dataset(name, root=published_root).classnames
    given = load_dataset(name, root=published_root, classnames=file).classnames
    assert given == (*own[:label], words, *own[label + 1 :])


def test_a_file_of_other_class_names_is_refused(published_root: Path, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("cat\ta cat\n")
    with pytest.raises(CraftZooError, match=r"has no line for any class: .* 'abyssinian"):
        load_dataset("oxford_pets", root=published_root, classnames=file)


def test_a_name_twice_in_imagenet(copies: Copies) -> None:
    names = copies.add("imagenet") / "classnames.txt"
    names.write_text("n01440764 tench\nn03773504 missile\nn04008634 tench\n")
    # One of CLIP's two known pairs is told apart, whatever it collides with …
    assert copies.load("imagenet").classnames == ("tench", "missile", "projectile")
    names.write_text("n01440764 tench\nn03773504 tench\nn04008634 missile\n")
    with pytest.raises(CraftZooError, match="imagenet has the class name 'tench' twice"):
        copies.load("imagenet")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_folder_in_one_half_of_imagenet_only(copies: Copies, split: str) -> None:
    folder = copies.add("imagenet") / "images" / split / "n03773504"
    shutil.rmtree(folder)
    with pytest.raises(CraftZooError, match=f"class folder {folder} is missing"):
        copies.load("imagenet")


def test_validation_images_that_are_not_in_class_folders(copies: Copies) -> None:
    val = copies.add("imagenet") / "images" / "val"
    for folder in list(val.iterdir()):
        for image in folder.iterdir():
            image.rename(val / image.name)
        folder.rmdir()
    with pytest.raises(CraftZooError, match=f"{val} holds 0 class folders"):
        copies.load("imagenet")


def test_a_class_folder_that_classnames_does_not_know(copies: Copies) -> None:
    copies.add("imagenet")
    folder = copies.add("imagenet-a") / "imagenet-a"
    (folder / "n01440764").rename(folder / "n09999999")
    with pytest.raises(CraftZooError, match="no line for class folder 'n09999999' of imagenet-a"):
        copies.load("imagenet-a")


@pytest.mark.parametrize("number", ["3", "x", "n01440764", "-1"])
def test_a_class_folder_of_imagenetv2_that_is_no_label(copies: Copies, number: str) -> None:
    images = copies.add("imagenetv2") / "imagenetv2-matched-frequency-format-val"
    (images / "0").rename(images / number)
    with pytest.raises(CraftZooError, match=f"{number} is not called by one of ImageNet's labels"):
        copies.load("imagenetv2")


def test_labels_of_imagenetv2_are_numbers_not_words(copies: Copies) -> None:
    images = copies.add("imagenetv2") / "imagenetv2-matched-frequency-format-val"
    ids = [f"n{number:08}" for number in range(12)]
    text = "".join(f"{class_id} class {label}\n" for label, class_id in enumerate(ids))
    (images.parent / "classnames.txt").write_text(text)
    (images / "2").rename(images / "10")
    dataset = copies.load("imagenetv2")
    assert dataset.classnames == ("class 0", "class 1", "class 10")
    assert [Path(str(image)).parent.name for image in dataset.test.images] == [
        "0", "0", "1", "1", "10", "10",
    ]  # fmt: skip


def test_shifts_take_imagenets_class_names_where_they_have_none(copies: Copies) -> None:
    for name in ("imagenetv2", "imagenet-sketch"):
        copies.add(name)
    with pytest.raises(CraftZooError, match=r"needs .*sketch/classnames\.txt, which is mi"):
        copies.load("imagenet-sketch")
    assert copies.load("imagenetv2").classnames[2] == "projectile"
    copies.add("imagenet")
    assert copies.load("imagenet-sketch").classnames == copies.load("imagenet").classnames


def test_aircraft_with_an_unknown_variant(copies: Copies) -> None:
    path = copies.add("fgvc_aircraft") / "images_variant_test.txt"
    path.write_text(path.read_text() + "\n0000001 Zeppelin\n")
    with pytest.raises(CraftZooError, match=rf"{path}, line 8: '0000001 Zeppelin' is not an imag"):
        copies.load("fgvc_aircraft")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("test_batch.bin", b"\x00" * 3074, "holds 3,074 bytes, no whole number of records"),
        ("test_batch.bin", b"", "holds 0 bytes"),
        ("data_batch_1.bin", b"\x03" * 3073, "has the label 3, and there are names for 3"),
        ("batches.meta.txt", b"\xff\xff", "cannot be read"),
    ],
)
def test_a_damaged_cifar(copies: Copies, file: str, content: bytes, message: str) -> None:
    (copies.add("cifar10") / file).write_bytes(content)
    with pytest.raises(CraftZooError, match=rf"{file} {message}.*download it again"):
        copies.load("cifar10")


def test_a_damaged_svhn(copies: Copies) -> None:
    path = copies.add("svhn") / "test_32x32.mat"
    whole = path.read_bytes()
    images = np.zeros((32, 32, 3, 2), np.uint8)
    for content in (
        b"no matlab file",
        whole[: len(whole) // 2],
        {"X": images, "y": np.array([[1], [0]])},
        {"X": images, "y": np.array([[1]])},
        {"X": images.astype(float), "y": np.array([[1], [2]])},
        {"X": images},
    ):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            savemat(path, content)
        with pytest.raises(CraftZooError, match=f"{path} is not a file of SVHN .*: download it a"):
            copies.load("svhn")


def test_resisc_without_a_split_file_is_split_as_coop_splits(copies: Copies) -> None:
    folder = copies.add("resisc45")
    (folder / "split_mlai_Resisc45.json").unlink()
    dataset, again = copies.load("resisc45"), copies.load("resisc45")
    other = copies.load("resisc45", split_seed=1)
    assert dataset.classnames == ("airplane", "baseball diamond", "wetland")
    assert dataset.val is not None
    parts = (dataset.train, dataset.val, dataset.test)
    assert [np.bincount(part.labels).tolist() for part in parts] == [[4] * 3, [1] * 3, [2] * 3]
    assert len({image for part in parts for image in part.images}) == 21
    assert list(dataset.test.images) == list(again.test.images) != list(other.test.images)
    for part in parts:
        for image, label in zip(part.images, part.labels, strict=True):
            folder_name = Path(str(image)).parent.name
            assert folder_name.replace("_", " ") == dataset.classnames[label]
    for path in sorted((folder / "NWPU-RESISC45" / "wetland").iterdir())[3:]:
        path.unlink()
    with pytest.raises(CraftZooError, match="wetland holds 3 images, at least 4 are needed"):
        copies.load("resisc45")
