"""Reader of split files in CoOp's format: ``{"train": [[path, label, name], …], …}``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from craft_zoo.data.load import DatasetSpec
from craft_zoo.data.published.catalogue import Published
from craft_zoo.data.published.layout import labelled, with_present_images, words_for_classes
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.data.text_files import read_text
from craft_zoo.errors import CraftZooError

_Entry = tuple[str, int, str]  # path in the image folder, label, raw class name


def read_split(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """Images in the file's order, classes in the order of their labels.

    Raises:
        CraftZooError: the split file is malformed, images are missing, or see
            :func:`words_for_classes`.
    """
    path = published.split_path(root)
    assert path is not None
    parts, names = parse_split(path, published)
    folder = os.fspath(published.image_folder(root))
    train, val, test = (_label(parts[key], folder) for key in ("train", "val", "test"))
    dataset = Dataset(
        published.name,
        words_for_classes(names, spec, published.renamed),
        train,
        test,
        val if len(val) else None,
        published.template,
    )
    return with_present_images(dataset, published, spec)


def parse_split(path: Path, published: Published) -> tuple[dict[str, list[_Entry]], list[str]]:
    """The file's entries by split ("val" may be empty), and the raw class names by label.

    Raises:
        CraftZooError: the file is not JSON or has another format, or a label has several names.
    """

    def malformed(reason: str) -> CraftZooError:
        return CraftZooError(
            f"split file {path} is malformed ({reason}): download it again from "
            f"{published.split_from}"
        )

    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError, CraftZooError) as error:
        raise malformed(f"no JSON: {error}") from None
    if not isinstance(content, dict):
        raise malformed(f"a JSON object was expected, found {type(content).__name__}")
    parts: dict[str, list[_Entry]] = {"val": []}
    for key in ("train", "val", "test"):
        if key == "val" and key not in content:
            continue
        if not isinstance(content.get(key), list):
            raise malformed(f"it has no list {key!r}")
        for number, entry in enumerate(content[key]):
            if not _is_entry(entry):
                raise malformed(
                    f"entry {number} of {key!r} is {entry!r}, not [path, label, class name]"
                )
        parts[key] = [(entry[0], entry[1], entry[2]) for entry in content[key]]
    names: dict[int, str] = {}
    for entries in parts.values():
        for _, label, name in entries:
            if names.setdefault(label, name) != name:
                raise malformed(f"label {label} has two names, {names[label]!r} and {name!r}")
    if not names or sorted(names) != list(range(len(names))):
        raise malformed(
            f"its {len(names)} labels are not the numbers from 0 on: {_first_gap(names)} is missing"
        )
    return parts, [names[label] for label in range(len(names))]


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 3
        and isinstance(entry[0], str)
        and type(entry[1]) is int
        and isinstance(entry[2], str)
    )


def _first_gap(labels: dict[int, str]) -> int:
    return next(label for label in range(len(labels) + 1) if label not in labels)


def _label(entries: list[_Entry], folder: str) -> LabelledImages:
    return labelled(
        [os.path.join(folder, path) for path, _, _ in entries], (label for _, label, _ in entries)
    )
