"""manifest:FILE on generated tables."""

from __future__ import annotations

import datetime
import sys
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from craft_zoo.data import Dataset, few_shot, fingerprint, load_dataset
from craft_zoo.data.labels import as_label
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


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["set", "Subset", "is_train", "is_training_image"])
def test_splits_in_another_column_are_not_mixed(image_folder: Path, column: str, kind: str) -> None:
    rows = [
        [*row[:2], str(int(row[2] == "train")) if column.startswith("is") else row[2]]
        for row in rows_of(image_folder)
    ]
    spec = write(image_folder / f"list.{kind}", ["path", "label", column], rows)
    with pytest.raises(CraftZooError, match=f"in the column '{column.lower()}': call the column"):
        load_dataset(spec)


@pytest.mark.parametrize("name", ["val", "validation", "Val ", "VALID", "dev"])
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
        CraftZooError, match=r"are numbers: give words .*--classnames FILE\).*'2<tab>words'.*column"
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
    with pytest.raises(CraftZooError, match=rf"{fault}.* or add skip_bad=True \(--skip-bad\)$"):
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
        ("path;class\na;b\n", "has no column 'path' (it has path;class)"),
        ("path,label,label\na,b,c\n", "has the column 'label' twice"),
        ("path,label\na,b,c\n", "cannot be read .*2 fields"),
        ("path,label\na\n", "image a in .* has no label"),
        ("path,label\n\xff\xfe,b\n", "cannot be read"),
        ("path,label,split\na,b,extra\n", "unknown split 'extra' of a in"),
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


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_as_spreadsheets_write_them(
    image_folder: Path, separator: str, kind: str, encoding: str, end: str
) -> None:
    rows = [["", "Path", "LABEL", "split", ""], *([str(i), *row, ""] for i, row in
            enumerate(rows_of(image_folder))), [""] * 5, [""] * 5]  # fmt: skip
    text = end.join(separator.join(f'"{cell}"' if cell else "" for cell in row) for row in rows)
    file = image_folder / f"list.{kind}"
    file.write_bytes((text + end).encode(encoding))
    expected = load_dataset(f"folder:{image_folder}")
    assert fingerprint(load_dataset(f"manifest:{file}")) == fingerprint(expected)
    if separator == ";":
        file.write_bytes(f"sep=;{end}{text}".encode(encoding))
        assert fingerprint(load_dataset(f"manifest:{file}")) == fingerprint(expected)


def test_a_table_in_another_encoding_is_refused_by_its_line(image_folder: Path) -> None:
    file = image_folder / "list.csv"
    file.write_bytes("path,label\r\na.png,cat\r\nb.png,café\r\n".encode("cp1252"))
    with pytest.raises(CraftZooError, match=r"cannot be read as UTF-8 in line 3: save .* as UTF-8"):
        load_dataset(f"manifest:{file}")


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_paths_with_backslashes_and_in_the_other_normal_form(
    image_folder: Path, on_disk: str, in_table: str
) -> None:
    new = image_folder / "train" / unicodedata.normalize(on_disk, "Café Zoë")
    (image_folder / "train" / "red_square").rename(new)
    rows = rows_of(image_folder)
    for row in rows:
        if row[0].startswith("train"):
            row[0] = unicodedata.normalize(in_table, row[0]).replace("/", "\\")
        row[1] = "red_square" if row[1].startswith("Caf") else row[1]
    dataset = load_dataset(write(image_folder / "list.csv", COLUMNS, rows))
    assert len(dataset.train) == 12
    assert all(Path(str(image)).is_file() for image in dataset.train.images)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["cat", "dog", "cat|dog"], r"label 'cat\|dog' .* lists several"),
        (["cat", "dog", "cat, dog"], "label 'cat, dog' .* lists several"),
        (["rock;red", "rock;blue", "x"], "lists several"),
        (["['cat', 'dog']", "cat", "dog"], r"label of data row 1 of .* no single value.*give one"),
        (["True", "False", "True"], "class 'False' says nothing .*classnames"),
        (["1.5", "2.5", "2.5"], "class '1.5' says nothing"),
        (["cat", "7", "7"], "class '7' says nothing .* or in a column 'classname'"),
        (["Cat", "cat ", "dog"], "classes 'Cat' and 'cat' have the class name 'cat' twice"),
        (["nan", "", "cat"], "has no label"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, kind: str, labels: list[str], message: str) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").touch()
    rows = [[f"{number}.png", label] for number, label in enumerate(labels)]
    spec = write(tmp_path / f"list.{kind}", ["path", "label"], rows)
    with pytest.raises(CraftZooError, match=message):
        load_dataset(spec)


CELLS: list[tuple[list[Any], list[str]]] = [
    ([0, 1, 10], ["0", "1", "10"]),
    ([0.0, 1.0, None], ["0", "1", ""]),
    ([float("nan"), -0.0, 1e15], ["", "0", "1000000000000000"]),
    (["0.0", "1.", "007"], ["0", "1", "007"]),
    ([b"cat", b"caf\xc3\xa9", None], ["cat", "café", ""]),
    (["cafe\u0301", " NaN", "none"], ["café", "", "none"]),
    ([True, False, None], ["True", "False", ""]),
    ([Decimal("1.00"), Decimal("2"), None], ["1", "2", ""]),
    ([pandas.NA, pandas.NaT, np.float32(3)], ["", "", "3"]),
    ([datetime.date(2024, 1, 2), "a", "b"], ["2024-01-02", "a", "b"]),
]


@pytest.mark.parametrize(("cells", "labels"), CELLS)
def test_one_label_however_a_table_stores_it(cells: list[Any], labels: list[str]) -> None:
    assert [as_label(cell, "row") for cell in cells] == labels


@pytest.mark.parametrize(
    "cell", [["cat"], ("a", "b"), {"a": 1}, np.arange(2), "[1, 2]", "{'a'}", b"caf\xe9"]
)
def test_cells_that_are_no_label(cell: Any) -> None:
    with pytest.raises(CraftZooError, match=r"the label of row 3 cannot be used .*: give one word"):
        as_label(cell, "row 3")


def test_parquet_holds_categories_and_lists(image_folder: Path) -> None:
    frame = pandas.DataFrame(rows_of(image_folder), columns=COLUMNS)
    frame["label"] = frame["label"].astype("category")
    frame.to_parquet(image_folder / "list.parquet")
    spec = f"manifest:{image_folder / 'list.parquet'}"
    assert fingerprint(load_dataset(spec)) == fingerprint(load_dataset(f"folder:{image_folder}"))
    frame["label"] = [[label] for label in frame["label"]]
    frame.to_parquet(image_folder / "list.parquet")
    with pytest.raises(CraftZooError, match="give one word or number for each image"):
        load_dataset(spec)


def test_parquet_whose_text_is_not_utf_8(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    text = pyarrow.array([b"caf\xe9.jpg"], pyarrow.binary())
    broken = pyarrow.StringArray.from_buffers(1, *text.buffers()[1:])
    label = pyarrow.array(["cat"])
    parquet.write_table(pyarrow.table({"path": broken, "label": label}), tmp_path / "a.parquet")
    with pytest.raises(CraftZooError, match=r"a\.parquet cannot be read"):
        load_dataset(f"manifest:{tmp_path / 'a.parquet'}")


def test_a_quotation_mark_that_is_not_closed_is_no_class_of_all_rows_after_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "list.csv"
    file.write_text('path,label\n0.png,"cat\n1.png,dog\n2.png,dog\n3.png,"big" dog\n4.png,cat\n')
    with pytest.raises(CraftZooError, match=r"the label of data row 1 .* mark that is not closed"):
        load_dataset(f"manifest:{file}")
