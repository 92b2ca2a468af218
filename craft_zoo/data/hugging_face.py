"""Data sets of Hugging Face's library ``datasets``, from the hub or a local path."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from craft_zoo.data.broken import SkippedParts
from craft_zoo.data.classnames import classes_of, words_for
from craft_zoo.data.fingerprint import describe
from craft_zoo.data.images import (
    BrokenImageError,
    DerivedImage,
    content_key,
    file_key,
    in_words,
    open_image,
    reading,
    steps_of,
)
from craft_zoo.data.labels import as_groups, as_label
from craft_zoo.data.load import DatasetSpec, register_dataset
from craft_zoo.data.pixels import as_rgb
from craft_zoo.data.splits import SPLIT_NAMES, find_splits, three_splits
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.errors import CraftZooError, needs_extra
from craft_zoo.files import expanded

if TYPE_CHECKING:
    import datasets

_OPTIONS = ("config", "image", "label", "group", "train", "val", "test")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_TIMEOUT = 10.0  # seconds, timeout of the hub


@register_dataset("hf")
def load_hugging_face(spec: DatasetSpec) -> Dataset:
    """hf:NAME: a data set of the Hugging Face hub, or a local path that ``datasets`` can read.

    Options follow a comma: ``hf:NAME,config=NAME,image=COLUMN,label=COLUMN,group=COLUMN,
    train=SPLIT,val=SPLIT,test=SPLIT``. By default, columns of images and labels are found by their
    types, and splits by the names train, val or validation, and test. Without a test split, the
    validation split is used for testing, or else one half of each class of the training split.
    Images are decoded when they are opened.

    Raises:
        CraftZooError: the package ``datasets``, a column, a split or a label is missing, or the hub
            cannot be reached.
    """
    name, options = _parse(spec.argument)
    splits = _open(name, options.get("config"))
    chosen = _choose_splits(splits, options, name)
    skipped = SkippedParts(spec.skip_bad)
    if not {"train", "val", "test"} & options.keys():
        skipped.found += [
            f"split {split!r} of hf:{name} is not used"
            for split in splits
            if split not in chosen.values()
        ]
    parts = {
        part: _read_split(splits[split], options, f"{name} ({split})", skipped)
        for part, split in chosen.items()
    }
    keys, words = _name_classes(list(parts.values()), name, spec.classnames_file)
    number = {key: i for i, key in enumerate(keys)}
    found = {
        part: LabelledImages(
            one.images, np.array([number[label] for label in one.labels], np.int64), one.groups
        )
        for part, one in parts.items()
    }
    train, val, test = three_splits(found, keys, spec.split_seed)
    path = expanded(name)
    title = path.resolve().name if path.exists() else name
    return Dataset(title, words, train, test, val, skipped=skipped.sentences())


@dataclass(frozen=True, eq=False)
class ImageColumn:
    """The image column of a split, undecoded.

    Attributes:
        table: a table with only this column.
        name: display name of the split.
        fingerprint: the split's fingerprint, computed by ``datasets``.
    """

    table: datasets.Dataset
    name: str
    fingerprint: str

    @cached_property
    def headers(self) -> list[str | tuple[str, ...]]:
        """The path of each row's file, or the opening steps of the bytes in the table.

        See :func:`steps_of`; a row without an image has no steps.
        """
        import pyarrow

        found: list[str | tuple[str, ...]] = []
        for cell in self.table.with_format("arrow")[:].column(0):
            if not cell.is_valid:
                found.append(())
            elif cell["bytes"].is_valid:
                found.append(steps_of(pyarrow.BufferReader(cell["bytes"].as_buffer())))
            else:
                found.append(cell["path"].as_py() or ())
        return found

    def content(self, row: int) -> bytes | Path:
        """The path or the bytes of the image's file.

        Raises:
            BrokenImageError: the row has no image.
        """
        (cell,) = self.table[row].values()
        if cell is not None and cell["bytes"] is not None:
            return cell["bytes"]
        if cell is not None and cell["path"] is not None:
            return Path(cell["path"])
        raise BrokenImageError(f"image {row} of {self.name} is empty", "replace or remove it")


@dataclass(frozen=True, eq=False)
class HubImage(DerivedImage):
    """One row of a column of images, decoded when it is opened."""

    column: ImageColumn
    row: int

    def open(self) -> Image.Image:
        """See :meth:`DerivedImage.open`."""
        content = self.column.content(self.row)
        if isinstance(content, Path):
            return open_image(content)
        name = f"{self.row} of {self.column.name}"
        with reading(name), Image.open(io.BytesIO(content)) as image:
            return as_rgb(image, name)

    def name(self) -> str:
        """See :meth:`DerivedImage.name`."""
        return f"image {self.row} of {self.column.name}"

    def content_key(self) -> bytes:
        """See :func:`craft_zoo.data.content_key`; equal to that of a file with the same content."""
        content = self.column.content(self.row)
        return content_key(content) if isinstance(content, Path) else file_key(content)

    def identity(self) -> bytes:
        """The description of the file, or the split's fingerprint and the row number.

        Only headers are read.
        """
        header = self.column.headers[self.row]
        if isinstance(header, str):
            return describe(header)
        return f"{self.column.fingerprint}:{self.row}{in_words(header)}\n".encode()


class _Split(NamedTuple):
    """The labelled images of a split, the names of a ClassLabel column, and the images' groups."""

    images: list[HubImage]
    labels: list[str]
    names: list[str] | None
    groups: np.ndarray | None


def _read_split(
    split: datasets.Dataset, options: Mapping[str, str], name: str, skipped: SkippedParts
) -> _Split:
    import datasets

    image = _find_column(split, "image", datasets.Image, options, name)
    label = _find_column(split, "label", datasets.ClassLabel, options, name)
    cells = _cells(split, label)
    groups = None
    if "group" in options:
        groups = as_groups(_cells(split, _existing(split, options["group"], name)), len(split))
    feature = split.features[label]
    names = list(feature.names) if isinstance(feature, datasets.ClassLabel) else None
    if names is None:
        labels = [as_label(cell, f"image {row} of {name}") for row, cell in enumerate(cells)]
    else:  # datasets encodes a missing label as -1
        labels = ["" if cell is None or cell < 0 else names[cell] for cell in cells]
    if not any(labels):
        raise CraftZooError(f"{name} has no labels: name another split, as in test=validation")
    undecoded = split.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    column = ImageColumn(undecoded, name, split._fingerprint)
    images = []
    for row, one in enumerate(labels):
        if one:
            images.append(HubImage(column, row))
        else:
            skipped.add(f"image {row} of {name} has no label", "give it one")
    if groups is not None:
        groups = groups[[bool(one) for one in labels]]
    return _Split(images, [one for one in labels if one], names, groups)


def _cells(split: datasets.Dataset, column: str) -> list[Any]:
    return split.select_columns([column]).with_format("arrow")[:].column(0).to_pylist()


def _parse(argument: str) -> tuple[str, dict[str, str]]:
    name, *pieces = argument.split(",")
    if not name:
        raise CraftZooError("data set 'hf' needs a name or path: write hf:ORGANISATION/NAME")
    options = {}
    for piece in pieces:
        key, _, value = piece.partition("=")
        if key not in _OPTIONS or not value:
            raise CraftZooError(
                f"unknown option {piece!r} of hf:{name}: use {', '.join(_OPTIONS)}, as in "
                f"hf:{name},label=COLUMN"
            )
        options[key] = value
    return name, options


def _open(name: str, config: str | None) -> Mapping[str, datasets.Dataset]:
    with needs_extra("hf", "data set 'hf'"):
        from datasets import Dataset, load_dataset, load_from_disk
    path = expanded(name)
    if not path.exists():
        _check_hub(name)
    if path.is_file() and path.suffix.lower() != ".parquet":
        raise CraftZooError(f"file {name} is of no known kind: give a .parquet file or a folder")
    try:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            opened = load_from_disk(str(path))
        elif path.is_file():
            opened = load_dataset("parquet", data_files=str(path.resolve()))
        else:
            opened = load_dataset(str(path.resolve()) if path.exists() else name, config)
    except Exception as error:  # dataset builders raise arbitrary exceptions
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CraftZooError(
            f"data set hf:{name} cannot be opened ({reason}): check its name, config and files"
        ) from None
    return {"train": opened} if isinstance(opened, Dataset) else opened


def _check_hub(name: str) -> None:
    """Request the data set's page once, as ``datasets`` would retry long without a network."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if not _HUB_ID.fullmatch(name):
        raise CraftZooError(f"path {name} does not exist: check the path after 'hf:'")
    try:
        HfApi().dataset_info(name, timeout=_TIMEOUT)
    except (HfHubHTTPError, OfflineModeIsEnabled):
        return  # datasets reports the error, or finds its local copy
    except Exception:  # its class depends on the version of huggingface_hub
        raise CraftZooError(
            f"the Hugging Face hub cannot be reached for {name}, nor is there such a path: check "
            f"the network, or set HF_HUB_OFFLINE=1 to use what was downloaded before"
        ) from None


def _choose_splits(
    splits: Mapping[str, Any], options: Mapping[str, str], name: str
) -> dict[str, str]:
    """``train``, ``val``, ``test`` → name of the split that is used for it."""
    named = [split for split in splits if SPLIT_NAMES.get(split.lower()) not in options]
    chosen = find_splits(named, f"hf:{name}", "name one with {}=SPLIT")
    for part in ("train", "val", "test"):
        split = options.get(part)
        if split is None:
            continue
        if split not in splits:
            raise CraftZooError(
                f"hf:{name} has no split {split!r}: choose from {', '.join(splits)}"
            )
        # A split chosen by an option for one part is not also used for the part of its name.
        chosen = {other: of for other, of in chosen.items() if of != split or other in options}
        chosen[part] = split
    twice = [split for split in chosen.values() if list(chosen.values()).count(split) > 1]
    if twice:
        raise CraftZooError(
            f"split {twice[0]!r} of hf:{name} cannot be two parts at once: choose others"
        )
    if not chosen:
        raise CraftZooError(
            f"hf:{name} has no split train, validation or test: choose from {', '.join(splits)}, "
            f"as in train=SPLIT"
        )
    return chosen


def _find_column(
    split: datasets.Dataset, option: str, kind: type, options: Mapping[str, str], name: str
) -> str:
    wanted = options.get(option)
    if wanted is not None:
        feature = split.features[_existing(split, wanted, name)]
        if option == "image" and not isinstance(feature, kind):
            raise CraftZooError(f"column {wanted!r} of {name} holds no images: name another")
        return wanted
    found = [column for column, feature in split.features.items() if isinstance(feature, kind)]
    if len(found) != 1:
        choices = ", ".join(found or split.features)
        raise CraftZooError(
            f"{name} has {len(found)} columns of type {kind.__name__}: name one with "
            f"{option}=COLUMN ({choices})"
        )
    return found[0]


def _existing(split: datasets.Dataset, column: str, name: str) -> str:
    """The column, if the split has it."""
    if column not in split.features:
        raise CraftZooError(
            f"{name} has no column {column!r}: choose from {', '.join(split.features)}"
        )
    return column


def _name_classes(
    parts: list[_Split], name: str, path: Path | None
) -> tuple[list[str], tuple[str, ...]]:
    """Keys of the classes in the order of their labels, and their words."""
    names = parts[0].names
    if any(part.names != names for part in parts):
        raise CraftZooError(f"splits of hf:{name} differ in their classes: choose others")
    if names is not None:
        return names, words_for(names, path)
    classes = classes_of([label for part in parts for label in part.labels], f"hf:{name}", path)
    return list(classes), tuple(classes.values())
