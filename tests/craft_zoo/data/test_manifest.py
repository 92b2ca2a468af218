"""manifest:FILE on generated tables."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas
import pytest

from craft_zoo.data import Dataset, few_shot, fingerprint, load_dataset
from craft_zoo.errors import CraftZooError

COLUMNS = ["path", "label", "split"]


def rows_of(folder: Path) -> list[list[str]]:
    """Path relative to the folder, class folder's name and split of each image."""
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
    return [[str(path), path.parts[1], path.parts[0]] for path in paths]


def write(file: Path, columns: list[str], rows: list[list[str]]) -> str:
    frame = pandas.DataFrame(rows, columns=columns)
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    else:
        frame.to_csv(file, index=False, sep="\t" if file.suffix == ".tsv" else ",")
    return f"manifest:{file}"


def paths(dataset: Dataset) -> list[list[str]]:
    return [
        [str(image) for image in images.images] if images is not None else []
        for images in (dataset.train, dataset.val, dataset.test)
    ]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_a_table_holds_what_the_folder_does(image_folder: Path, kind: str) -> None:
    spec = write(image_folder / f"list.{kind}", COLUMNS, rows_of(image_folder))
    dataset, folder = load_dataset(spec), load_dataset(f"folder:{image_folder}")
    assert dataset.name == "list"
    assert dataset.classnames == folder.classnames
    assert paths(dataset) == paths(folder)
    assert fingerprint(dataset) == fingerprint(folder)


def test_without_splits_each_class_is_halved_as_of_a_folder(image_folder: Path) -> None:
    rows = [row[:2] for row in rows_of(image_folder) if row[2] == "train"]
    spec = write(image_folder / "list.csv", ["path", "label"], rows)
    for seed in (0, 1):
        folder = load_dataset(f"folder:{image_folder / 'train'}", split_seed=seed)
        assert paths(load_dataset(spec, split_seed=seed)) == paths(folder)


@pytest.mark.parametrize("name", ["val", "validation", "Val "])
def test_validation_rows_are_for_testing_only_where_no_others_are(
    image_folder: Path, name: str
) -> None:
    rows = rows_of(image_folder)
    for row in rows:
        row[2] = name if row[0].endswith("/00.png") else row[2]
    dataset = load_dataset(write(image_folder / "list.csv", COLUMNS, rows))
    assert [len(part) for part in paths(dataset)] == [9, 6, 6]
    rows = [row for row in rows if row[2] != "test"]
    dataset = load_dataset(write(image_folder / "list.csv", COLUMNS, rows))
    assert [len(part) for part in paths(dataset)] == [9, 0, 6]


def test_a_table_of_test_rows_is_only_for_testing(image_folder: Path) -> None:
    rows = [row for row in rows_of(image_folder) if row[2] == "test"]
    dataset = load_dataset(write(image_folder / "list.csv", COLUMNS, rows))
    assert [len(part) for part in paths(dataset)] == [0, 0, 9]
    with pytest.raises(CraftZooError, match="list is only for testing"):
        few_shot(dataset, 1, 1)


def numbered(folder: Path) -> list[list[str]]:
    number = {"GreenField": "10", "blue-sky": "9", "red_square": "2"}
    return [[path, number[label], split] for path, label, split in rows_of(folder)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_numbers_are_named_by_a_column_or_a_file(image_folder: Path, kind: str) -> None:
    words = {"2": "red box", "9": "sky", "10": "NA"}
    rows = [[*row, words[row[1]]] for row in numbered(image_folder)]
    file = image_folder / f"list.{kind}"
    spec = write(file, [*COLUMNS, "classname"], rows)
    dataset = load_dataset(spec)
    assert dataset.classnames == ("red box", "sky", "NA")
    assert {str(p).split("/")[-2] for p in dataset.train.take(np.arange(4)).images} == {
        "GreenField"
    }
    assert dataset.train.labels[:4].tolist() == [2] * 4
    names = image_folder / "names.txt"
    names.write_text("2\ta\n9\tb\n10\tc\n")
    assert load_dataset(spec, classnames=names).classnames == ("a", "b", "c")
    spec = write(file, COLUMNS, numbered(image_folder))
    assert load_dataset(spec, classnames=names).classnames == ("a", "b", "c")
    with pytest.raises(
        CraftZooError, match=r"are numbers: give words .*--classnames FILE .*'2<tab>words'.*column"
    ):
        load_dataset(spec)


def test_numbers_beside_gaps_are_still_whole(image_folder: Path) -> None:
    rows = numbered(image_folder)
    frame = pandas.DataFrame(rows, columns=COLUMNS)
    frame["label"] = frame["label"].astype(float)
    frame.loc[0, "label"] = None
    frame.to_parquet(image_folder / "list.parquet")
    names = image_folder / "names.txt"
    names.write_text("2\ta\n9\tb\n10\tc\n")
    spec = f"manifest:{image_folder / 'list.parquet'}"
    dataset = load_dataset(spec, classnames=names, skip_bad=True)
    assert dataset.classnames == ("a", "b", "c")
    assert dataset.skipped == (
        f"image {rows[0][0]} in {image_folder / 'list.parquet'} has no label",
    )


def test_paths_may_be_absolute_and_labels_may_hold_a_comma(
    image_folder: Path, tmp_path: Path
) -> None:
    rows = [
        [str(image_folder / path), f"{name}, dark", split]
        for path, name, split in rows_of(image_folder)
    ]
    dataset = load_dataset(write(tmp_path / "list.csv", COLUMNS, rows))
    assert dataset.classnames[1] == "blue sky, dark"
    assert len(dataset.train) == 12


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        (["train/blue-sky/03.png", "", "train"], "image train/blue-sky/03.png in .* has no label"),
        (["", "blue-sky", "train"], "data row 22 of .* has no path"),
        (["no.png", "blue-sky", "train"], r"image .*/no\.png in .* does not exist"),
        (["train/../train/red_square/00.png", "blue-sky", "test"], "is listed twice in"),
    ],
)
def test_broken_rows_are_complained_of_or_left_out(
    image_folder: Path, cells: list[str], fault: str
) -> None:
    spec = write(image_folder / "list.csv", COLUMNS, [*rows_of(image_folder), cells])
    with pytest.raises(CraftZooError, match=f"{fault}.* or add --skip-bad$"):
        load_dataset(spec)
    dataset = load_dataset(spec, skip_bad=True)
    assert len(dataset.train) == 12
    (sentence,) = dataset.skipped
    assert "skip-bad" not in sentence


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: add columns path and label"),
        ("path,label\n", "has no rows"),
        ("path,class\na,b\n", "has no column 'label' (it has path, class): add it"),
        ("path;label\na;b\n", "has no column 'path' (it has path;label)"),
        ("path,label,label\na,b,c\n", "has the column 'label' twice"),
        ("path,label\na,b,c\n", "cannot be read .*2 fields"),
        ("path,label\na\n", "image a in .* has no label"),
        ("path,label\n\xff\xfe,b\n", "cannot be read"),
        ("path,label,split\na,b,dev\n", "unknown split 'dev' of a in"),
        ("path,label,classname\n1.png,1,\n", "image .*1.png in .* has no classname"),
        ("path,label,classname\n1.png,1,a\n2.png,1,b\n", "label '1' has two classnames"),
        ("path,label\n1.png,a\n2.png,a\n", "has 1 classes, at least 2"),
        ("path,label\n1.png,a\n2.png,b\n", "class 'a' has one image"),
        (
            "path,label,split\n1.png,a,train\n2.png,b,train\n3.png,b,test\n",
            "class 'a' has no test image in",
        ),
    ],
)
def test_broken_tables(tmp_path: Path, text: str, message: str) -> None:
    for number in "123":
        (tmp_path / f"{number}.png").touch()
    file = tmp_path / "list.csv"
    file.write_bytes(text.encode("latin-1"))
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(CraftZooError, match=pattern):
        load_dataset(f"manifest:{file}")


def test_broken_parquet(tmp_path: Path) -> None:
    (tmp_path / "list.parquet").write_text("no table")
    with pytest.raises(CraftZooError, match=r"list\.parquet cannot be read"):
        load_dataset(f"manifest:{tmp_path / 'list.parquet'}")


def test_a_byte_order_mark_and_spaces_do_no_harm(image_folder: Path) -> None:
    lines = [" Path, Label ,split", *(", ".join(row) for row in rows_of(image_folder))]
    (image_folder / "list.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    assert len(load_dataset(f"manifest:{image_folder / 'list.csv'}").test) == 9


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "needs a file: write manifest:FILE"),
        (":nowhere.csv", r"manifest nowhere\.csv does not exist"),
        (":{}", "does not exist"),
        (":{}/list.xlsx", r"of no known kind: make it \.csv, \.tsv or \.parquet"),
    ],
)
def test_no_table(tmp_path: Path, argument: str, message: str) -> None:
    (tmp_path / "list.xlsx").touch()
    with pytest.raises(CraftZooError, match=message):
        load_dataset("manifest" + argument.format(tmp_path))


def test_parquet_without_an_engine(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write(image_folder / "list.parquet", COLUMNS, rows_of(image_folder))
    for module in ("pyarrow", "pyarrow.parquet", "fastparquet"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CraftZooError, match=r"needs the package pyarrow: pip install 'craft-zoo\["):
        load_dataset(spec)
