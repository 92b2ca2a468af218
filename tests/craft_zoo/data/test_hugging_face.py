"""hf:NAME on generated data sets."""

from __future__ import annotations

import pickle
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from craft_zoo.data import (
    Dataset,
    content_key,
    few_shot,
    find_broken,
    fingerprint,
    load_dataset,
    open_image,
)
from craft_zoo.data.copies import shown
from craft_zoo.data.hugging_face import HubImage
from craft_zoo.errors import CraftZooError

NAMES = ["red_fox", "BlueJay", "owl"]


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    datasets.disable_progress_bars()


def split(labels: list[Any], first: int = 0, **features: Any) -> datasets.Dataset:
    """A split with one distinct image per label, in columns picture and kind."""
    pictures = [
        Image.fromarray(np.full((6, 5, 3), first + i, np.uint8)) for i in range(len(labels))
    ]
    kinds = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=NAMES)} | features
    columns = {name: pictures if name.startswith("picture") else labels for name in kinds}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))


def save(folder: Path, **splits: datasets.Dataset) -> str:
    datasets.DatasetDict(splits).save_to_disk(folder)
    return f"hf:{folder}"


def shades(images: Any) -> list[int]:
    return [int(np.asarray(open_image(image))[0, 0, 0]) for image in images.images]


@pytest.fixture
def saved(tmp_path: Path) -> str:
    return save(
        tmp_path / "birds",
        train=split([2, 1, 0, 2, 1, 0]),
        validation=split([0, 1, 2], 50),
        test=split([1, 0, 2], 100),
    )


def test_splits_saved_to_disk_are_read_by_their_names(saved: str) -> None:
    dataset = load_dataset(saved)
    assert dataset.name == "birds"
    assert dataset.classnames == ("red fox", "blue jay", "owl")
    assert dataset.train.labels.tolist() == [2, 1, 0, 2, 1, 0]
    assert shades(dataset.train) == [0, 1, 2, 3, 4, 5]
    assert dataset.val is not None
    assert shades(dataset.val) == [50, 51, 52]
    assert shades(dataset.test) == [100, 101, 102]
    task = few_shot(load_dataset(saved + "@base"), 1, 1, sampling="coop")
    assert task.train.labels.tolist() == [1, 0]
    shade, _ = shades(task.train)
    assert re.fullmatch(f"image {shade} of .*birds \\(train\\)", shown(task.train, 0))


def test_images_are_decoded_when_opened_and_can_be_pickled(saved: str, tmp_path: Path) -> None:
    image = load_dataset(saved).train.images[3]
    assert isinstance(image, HubImage)
    again = pickle.loads(pickle.dumps(image))
    assert np.array_equal(np.asarray(open_image(again)), np.full((6, 5, 3), 3))
    assert content_key(again) == content_key(image)
    content = image.column.content(image.row)
    assert isinstance(content, bytes)
    (tmp_path / "copy.png").write_bytes(content)
    assert content_key(tmp_path / "copy.png") == content_key(image)


def test_fingerprints_read_no_image_and_stay_where_the_folder_is_moved(
    saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tmp_path / "birds", tmp_path / "moved")
    monkeypatch.delattr(HubImage, "open")
    monkeypatch.delattr(HubImage, "content_key")
    first = fingerprint(load_dataset(saved))
    assert fingerprint(load_dataset(f"hf:{tmp_path / 'moved'}")) == first
    other = save(tmp_path / "other", train=split([2, 1, 0]), test=split([1, 0, 2], 100))
    assert fingerprint(load_dataset(other)) != first


def test_images_in_tables_and_in_files_are_opened_as_files_of_a_folder(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    grey, exif = Image.fromarray(pixels[..., 0]), Image.Exif()
    exif[0x0112] = 6
    see_through = Image.fromarray(pixels)
    see_through.putalpha(grey)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    files = {}
    for name, image in {"plain": grey, "turned": grey, "deep": deep, "alpha": see_through}.items():
        files[name] = tmp_path / f"{name}.png"
        image.save(files[name], **({"exif": exif} if name == "turned" else {}))
    column = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    paths = [str(path) for path in files.values()]
    inside = [{"bytes": path.read_bytes(), "path": None} for path in files.values()]
    for cells in (paths, inside):
        table = datasets.Dataset.from_dict({"image": cells, "label": [0, 0, 1, 1]}, column)
        loaded = load_dataset(save(tmp_path / f"set-{len(str(cells))}", train=table, test=table))
        for path, image in zip(files.values(), loaded.train.images, strict=True):
            assert isinstance(image, HubImage)
            assert np.array_equal(open_image(image), open_image(path))
            assert content_key(image) == content_key(path)
        plain, *others = [image.identity().decode() for image in loaded.train.images]
        assert "," not in plain
        for identity, step in zip(others, ("turned 6", "scaled", "over white"), strict=True):
            assert identity.endswith(f", {step}\n")


def test_image_folders_and_parquet_files(image_folder: Path, tmp_path: Path) -> None:
    dataset, folder = load_dataset(f"hf:{image_folder}"), load_dataset(f"folder:{image_folder}")
    assert dataset.classnames == folder.classnames
    assert dataset.test.labels.tolist() == folder.test.labels.tolist()
    assert fingerprint(dataset) == fingerprint(folder)
    assert [content_key(image) for image in dataset.train.images] == [
        content_key(image) for image in folder.train.images
    ]
    (tmp_path / "tables").mkdir()
    file = tmp_path / "tables" / "train.parquet"
    split([0, 1, 2] * 4).to_parquet(file)
    tables = [load_dataset(f"hf:{path}") for path in (file, file.parent)]
    for table in tables:
        assert np.bincount(table.train.labels).tolist() == [2, 2, 2]
        assert np.bincount(table.test.labels).tolist() == [2, 2, 2]
        assert sorted(shades(table.train) + shades(table.test)) == list(range(12))


def lengths(dataset: Dataset) -> list[int]:
    return [len(part) if part else 0 for part in (dataset.train, dataset.val, dataset.test)]


def test_splits_that_are_missing_or_named_by_an_option(tmp_path: Path) -> None:
    parts = {"train": split([0, 1, 2] * 2), "validation": split([0, 1, 2], 50)}
    spec = save(tmp_path / "a", **parts)
    assert lengths(load_dataset(spec)) == [6, 0, 3]
    assert lengths(load_dataset(f"{spec},test=train,train=validation")) == [3, 0, 6]
    spec = save(tmp_path / "b", train=parts["train"])
    assert lengths(load_dataset(spec)) == [3, 0, 3]
    parts["train"].save_to_disk(tmp_path / "c")
    assert lengths(load_dataset(f"hf:{tmp_path / 'c'}")) == [3, 0, 3]
    spec = save(tmp_path / "d", all=parts["train"], extra=parts["validation"])
    assert lengths(load_dataset(f"{spec},train=all,test=extra")) == [6, 0, 3]
    for options, message in (
        ("", "has no split train, validation or test: choose from all, extra"),
        (",train=some", "has no split 'some': choose from all, extra"),
        (",train=all,test=all", "split 'all' of .* cannot be two parts"),
    ):
        with pytest.raises(CraftZooError, match=message):
            load_dataset(spec + options)


def test_columns_are_named_where_types_leave_a_choice(tmp_path: Path) -> None:
    coarse = datasets.ClassLabel(names=["a", "b", "c"])
    spec = save(
        tmp_path / "two", train=split([0, 1, 2] * 2, coarse=coarse, picture2=datasets.Image())
    )
    with pytest.raises(CraftZooError, match=r"image=COLUMN \(picture, picture2\)"):
        load_dataset(spec)
    with pytest.raises(CraftZooError, match=r"label=COLUMN \(kind, coarse\)"):
        load_dataset(f"{spec},image=picture")
    dataset = load_dataset(f"{spec},image=picture2,label=coarse")
    assert dataset.classnames == ("a", "b", "c")
    with pytest.raises(CraftZooError, match="no column 'fine': choose from picture, kind"):
        load_dataset(f"{spec},image=picture,label=fine")
    with pytest.raises(CraftZooError, match=r"column 'kind' of .* holds no images"):
        load_dataset(f"{spec},image=kind")


def test_labels_of_other_types_are_words_or_numbers(tmp_path: Path) -> None:
    spec = save(
        tmp_path / "text", train=split(["Owl", "sea-gull"] * 2, kind=datasets.Value("string"))
    )
    with pytest.raises(CraftZooError, match="has 0 columns of type ClassLabel"):
        load_dataset(spec)
    assert load_dataset(f"{spec},label=kind").classnames == ("owl", "sea gull")
    spec = save(tmp_path / "ints", train=split([10, 2] * 2, kind=datasets.Value("int64")))
    with pytest.raises(CraftZooError, match="are numbers: give words"):
        load_dataset(f"{spec},label=kind")
    names = tmp_path / "names.txt"
    names.write_text("2\ttwo\n10\tten\n")
    assert load_dataset(f"{spec},label=kind", classnames=names).classnames == ("two", "ten")


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ([0.0, 1.0], datasets.Value("float32"), "are numbers: give words"),
        ([True, False], datasets.Value("bool"), "class 'False' says nothing"),
        ([["a"], ["b"]], datasets.List(datasets.Value("string")), "image 0 of .* no single value"),
        ([[0], [1]], datasets.List(datasets.ClassLabel(names=NAMES)), "give one word or number"),
        ([0, 1], datasets.ClassLabel(names=["0", "1"]), "class '0' says nothing"),
        ([0, 1], datasets.ClassLabel(names=["Cat", "cat"]), "have the class name 'cat' twice"),
    ],
)
def test_labels_that_name_no_class(
    tmp_path: Path, labels: list[Any], kind: Any, message: str
) -> None:
    spec = save(tmp_path / "made", train=split(labels * 2, kind=kind))
    with pytest.raises(CraftZooError, match=message):
        load_dataset(f"{spec},label=kind")


def test_floats_and_gaps_are_the_labels_that_they_are_in_a_table(tmp_path: Path) -> None:
    cells = [0.0, 1.0, None, float("nan"), 0.0, 1.0]
    spec = save(tmp_path / "made", train=split(cells, kind=datasets.Value("float64")))
    names = tmp_path / "names.txt"
    names.write_text("0\tcat\n1\tdog\n")
    dataset = load_dataset(f"{spec},label=kind", classnames=names, skip_bad=True)
    assert dataset.classnames == ("cat", "dog")
    assert [one.partition(" of ")[0] for one in dataset.skipped] == ["image 2", "image 3"]


def test_splits_that_are_not_used_are_named(tmp_path: Path) -> None:
    rows = split([0, 1, 2] * 2)
    spec = save(tmp_path / "a", training=rows, testing=rows, unsupervised=rows)
    assert load_dataset(spec).skipped == (f"split 'unsupervised' of {spec} is not used",)
    spec = save(tmp_path / "b", train=rows, dev=rows, validation=rows)
    with pytest.raises(CraftZooError, match=r"has both .*: name one with val=SPLIT"):
        load_dataset(spec)
    assert lengths(load_dataset(f"{spec},val=dev")) == [6, 0, 6]


def test_class_names_come_from_a_file(saved: str, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("red_fox\ta fox\nBlueJay\ta jay\nowl\tan owl\n")
    assert load_dataset(saved, classnames=names).classnames == ("a fox", "a jay", "an owl")


def test_missing_labels_and_broken_images(tmp_path: Path) -> None:
    train = split([0, -1, 1, None, 2, 0, 1, 2])
    cells = train.cast_column("picture", datasets.Image(decode=False))[:]
    cells["picture"][5]["bytes"] = cells["picture"][5]["bytes"][:40]
    cells["picture"][6] = None
    spec = save(
        tmp_path / "bad",
        train=datasets.Dataset.from_dict(cells, features=train.features),
        test=split([0, 1, 2]),
    )
    with pytest.raises(CraftZooError, match=r"image 1 of .*bad \(train\) has no label: give it"):
        load_dataset(spec)
    dataset = load_dataset(spec, skip_bad=True)
    assert dataset.train.labels.tolist() == [0, 1, 2, 2]
    assert [sentence.split(" of ")[0] for sentence in dataset.skipped] == [
        "image 1",
        "image 3",
        "image 5",
        "image 6",
    ]
    assert "is empty" in dataset.skipped[3]
    assert find_broken(dataset.train.images) == {}
    spec = save(tmp_path / "none", train=train, test=split([-1, -1]))
    with pytest.raises(CraftZooError, match=r"\(test\) has no labels: name another split"):
        load_dataset(spec, skip_bad=True)


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        CraftZooError,
        match=r"^data set 'hf' needs the package datasets: pip install 'craft-zoo\[hf\]'$",
    ):
        load_dataset("hf:org/name")


def test_the_hub_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    with pytest.raises(CraftZooError, match=r"hf:org/name cannot be opened .*Hub"):
        load_dataset("hf:org/name")

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    with pytest.raises(CraftZooError, match=r"hub cannot be reached for org/name.*HF_HUB_OFFLINE"):
        load_dataset("hf:org/name")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "needs a name or path: write hf:ORGANISATION/NAME"),
        (":,label=a", "needs a name or path"),
        (":./no/where/at/all", "path ./no/where/at/all does not exist"),
        (":{},colour=red", "unknown option 'colour=red'"),
        (":{},label=", "unknown option 'label='"),
        (":{}", "cannot be opened .*check its name, config and files"),
        (":{}/list.txt", r"of no known kind: give a \.parquet file or a folder"),
    ],
)
def test_no_data_set(tmp_path: Path, argument: str, message: str) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    if argument.endswith("list.txt"):
        (folder / "list.txt").touch()
    with pytest.raises(CraftZooError, match=message):
        load_dataset("hf" + argument.format(folder))
