"""Data sets from tables that list images, labels and splits."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_zoo.data.broken import SkippedParts
from craft_zoo.data.classnames import classes_of
from craft_zoo.data.labels import as_label, as_text
from craft_zoo.data.load import DatasetSpec, register_dataset
from craft_zoo.data.naming import composed
from craft_zoo.data.splits import SPLIT_NAMES, split_meant, three_splits
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.data.text_files import read_text
from craft_zoo.errors import CraftZooError
from craft_zoo.files import expanded
from craft_zoo.printable import printable

if TYPE_CHECKING:
    import pandas

_SEPARATORS = {".csv": ",", ".tsv": "\t"}  # defaults; the header may show another
_COLUMNS = ("path", "label", "split", "classname", "group")


@register_dataset("manifest")
def load_manifest(spec: DatasetSpec) -> Dataset:
    """manifest:FILE: a table (CSV, TSV, Parquet) with columns path, label, optionally split, group.

    Paths are relative to the file's folder. A label is a word or a whole number; an optional
    column ``classname`` has the words for it, which numbers need unless a file of class names is
    given. Splits are train, val and test, or synonyms in
    :data:`craft_zoo.data.splits.SPLIT_NAMES`. Without test rows, the val rows are used for testing;
    without these or without the column, one half of each class is. Images with the same text in the
    column ``group`` are of one group, see :class:`craft_zoo.data.LabelledImages`.

    Raises:
        CraftZooError: the file or an image is missing, a row or column is invalid, or a class has
            no words, no training or no test images.
    """
    if not spec.argument:
        raise CraftZooError("data set 'manifest' needs a file: write manifest:FILE")
    file = expanded(spec.argument)
    table = _read_table(file)
    skipped = SkippedParts(spec.skip_bad)
    rows = _check_rows(table, file, skipped)
    given = _given_words(rows, file) if "classname" in table else None
    classes = classes_of(
        [row["label"] for row in rows], f"manifest {file}", spec.classnames_file, given
    )
    found = _split(rows, list(classes))
    train, val, test = three_splits(found, list(classes), spec.split_seed)
    for kind, images in (("training", train), ("test", test)):
        lacking = np.setdiff1d(np.arange(len(classes)), images.labels)
        if len(images) and len(lacking):
            raise CraftZooError(
                f"class {list(classes)[lacking[0]]!r} has no {kind} image in {file}: "
                f"add rows or remove the class"
            )
    return Dataset(
        file.stem, tuple(classes.values()), train, test, val, skipped=skipped.sentences()
    )


def _read_table(file: Path) -> dict[str, list[str]]:
    """Column name → its cells as text, "" for missing cells."""
    import pandas

    if not file.is_file():
        raise CraftZooError(f"manifest {file} does not exist: check the path after 'manifest:'")
    try:
        parquet = file.suffix.lower() == ".parquet"
        # Text in Parquet may not be UTF-8; it is decoded only on conversion to Python objects.
        frame = pandas.read_parquet(file).astype(object) if parquet else _read_text(file)
    except pandas.errors.EmptyDataError:
        raise CraftZooError(f"manifest {file} is empty: add columns path and label") from None
    except ImportError:
        raise CraftZooError(
            f"manifest {file} needs the package pyarrow: pip install 'craft-zoo[parquet]'"
        ) from None
    except CraftZooError:
        raise
    except Exception as error:  # pandas and its engines have no common exception class
        raise CraftZooError(f"manifest {file} cannot be read ({error}): mend the file") from None
    frame.columns = [str(name).strip().lower() for name in frame.columns]
    found = ", ".join(frame.columns)
    for name in _COLUMNS:
        if name in _COLUMNS[:2] and name not in frame:
            raise CraftZooError(f"manifest {file} has no column {name!r} (it has {found}): add it")
        if list(frame.columns).count(name) > 1:
            raise CraftZooError(f"manifest {file} has the column {name!r} twice: remove one")
    _check_no_other_splits(frame, file)
    table = {
        name: [
            _text(name, cell, f"data row {number} of {file}")
            for number, cell in enumerate(frame[name].tolist(), start=1)
        ]
        for name in _COLUMNS
        if name in frame
    }
    if not any(any(texts) for texts in table.values()):
        raise CraftZooError(f"manifest {file} has no rows: add one for each image")
    return table


def _check_no_other_splits(frame: pandas.DataFrame, file: Path) -> None:
    """Check that the splits have no other column than ``split``, as they would be mixed."""
    if "split" in frame:
        return
    for place, name in enumerate(frame.columns):
        cells = {str(cell).strip().lower() for cell in frame.iloc[:, place].tolist()}
        says_which = name.startswith("is_") and split_meant(name) is not None
        if says_which or (name not in _COLUMNS and len(cells) > 1 and cells <= SPLIT_NAMES.keys()):
            raise CraftZooError(
                f"manifest {file} has splits in the column {name!r}: call the column 'split' and "
                f"its values train, val and test"
            )


def _text(column: str, cell: Any, place: str) -> str:
    if column == "label":
        text = as_label(cell, place)
    else:
        try:
            text = as_text(cell)
        except ValueError as error:
            fault = f"the {column} of {place} cannot be read ({error})"
            raise CraftZooError(f"{fault}: mend the row") from None
    if "\n" in text:  # of a label, all rows up to the next quotation mark would be its class
        raise CraftZooError(
            f"the {column} of {place} has a line break, as after a quotation mark that is not "
            f"closed: mend the row"
        )
    return text


def _read_text(file: Path) -> pandas.DataFrame:
    import pandas

    separator = _SEPARATORS.get(file.suffix.lower())
    if separator is None:
        raise CraftZooError(f"manifest {file} is of no known kind: make it .csv, .tsv or .parquet")
    text = read_text(file)
    first, _, rest = text.lstrip("\n").partition("\n")
    if first.lower().startswith("sep=") and len(first) == 5:  # a directive of Excel
        separator, text = first[4], rest
    else:
        separator = _shown_separator(first) or separator
    # The header is read as a row, so that longer rows and duplicate names are detected.
    frame = pandas.read_csv(
        io.StringIO(text), sep=separator, header=None, dtype=str, keep_default_na=False
    )
    return frame.iloc[1:].set_axis(frame.iloc[0].tolist(), axis="columns")


def _shown_separator(header: str) -> str | None:
    """The separator of the header: Excel writes semicolons in many European locales."""
    for separator in ",;\t":
        names = next(csv.reader([header], delimiter=separator), [])
        if {"path", "label"} <= {name.strip().lower() for name in names}:
            return separator
    return None


def _find_image(path: str, folder: Path, list_paths: Callable[[str], dict[str, str]]) -> str:
    """The absolute path, found also if it has Windows' separators or another Unicode normal form
    than the file's name."""
    exact = os.path.normpath(folder / expanded(path))
    if os.path.exists(exact):
        return exact
    for spelling in (path, path.replace("\\", "/")):
        found = os.path.sep
        for name in Path(os.path.normpath(folder / spelling)).parts[1:]:
            named = os.path.join(found, name)
            found = named if os.path.exists(named) else list_paths(found).get(composed(name), "")
            if not found:
                break
        else:
            return found
    return exact


def _paths_by_name(folder: str) -> dict[str, str]:
    """Path of each file in a folder by its name in normal form C."""
    try:
        return {composed(name): os.path.join(folder, name) for name in sorted(os.listdir(folder))}
    except OSError:
        return {}


def _check_rows(
    table: dict[str, list[str]], file: Path, skipped: SkippedParts
) -> list[dict[str, str]]:
    """The valid rows, with absolute paths and canonical split names."""
    folder, list_paths, rows, seen = file.resolve().parent, cache(_paths_by_name), [], set()
    for number, cells in enumerate(zip(*table.values(), strict=True), start=1):
        if not any(cells):  # spreadsheets leave empty rows at the end
            continue
        row = dict(zip(table, cells, strict=True))
        path, named = _find_image(row["path"], folder, list_paths), printable(row["path"])
        split = row.get("split", "train").lower()
        if split not in SPLIT_NAMES:
            raise CraftZooError(
                f"unknown split {row['split']!r} of {named} in {file}: use train, val or test"
            )
        if not row["path"]:
            skipped.add(f"data row {number} of {file} has no path", "give it one")
        elif not row["label"]:
            skipped.add(f"image {named} in {file} has no label", "give it one")
        elif path in seen:
            skipped.add(f"image {named} is listed twice in {file}", "remove one row")
        elif not os.path.exists(path):
            skipped.add(f"image {printable(path)} in {file} does not exist", "check the path")
        elif not os.path.isfile(path):
            skipped.add(f"image {printable(path)} in {file} is no file", "check the path")
        else:
            seen.add(path)
            rows.append({**row, "path": path, "split": SPLIT_NAMES[split]})
    return rows


def _given_words(rows: list[dict[str, str]], file: Path) -> dict[str, str]:
    """Label → words, from the column ``classname``."""
    given: dict[str, str] = {}
    for row in rows:
        label, words = row["label"], row["classname"]
        if not words:
            raise CraftZooError(
                f"image {row['path']} in {file} has no classname: give it one in each row"
            )
        if given.setdefault(label, words) != words:
            raise CraftZooError(
                f"label {label!r} has two classnames in {file}, {given[label]!r} and {words!r}: "
                f"keep one"
            )
    return given


def _split(rows: list[dict[str, str]], classes: list[str]) -> dict[str, LabelledImages]:
    number = {label: i for i, label in enumerate(classes)}
    found = {}
    for split in dict.fromkeys(row["split"] for row in rows):
        mine = [row for row in rows if row["split"] == split]
        labels = np.array([number[row["label"]] for row in mine], dtype=np.int64)
        groups = np.array([row["group"] for row in mine]) if "group" in mine[0] else None
        found[split] = LabelledImages([Path(row["path"]) for row in mine], labels, groups)
    return found
