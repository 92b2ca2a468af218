"""Readers of data sets whose splits are listed in files: CoOp's JSON, lists of FGVC-Aircraft.

RESISC45 may also have no such file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from craft_zoo.data.classnames import known_words
from craft_zoo.data.load import DatasetSpec
from craft_zoo.data.published.catalogue import Published
from craft_zoo.data.published.layout import (
    class_folders,
    read_lines,
    with_present_images,
)
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.data.text_files import read_text
from craft_zoo.errors import CraftZooError
from craft_zoo.seeding import generator

_Entry = tuple[str, int, str]  # path in the image folder, label, raw class name

_TRAIN_SHARE, _VAL_SHARE = 0.5, 0.2  # of RESISC45 without a split file
_FEWEST = 4  # images per class, so that each split gets one


def read_split(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """Images in the order of CoOp's file, classes in the order of their labels.

    Raises:
        CraftZooError: the split file is malformed, images are missing, or see
            :func:`known_words`.
    """
    path = published.split_path(root)
    assert path is not None
    parts, names = parse_split(path, published)
    folder = os.fspath(published.image_folder(root))
    train, val, test = (_label(parts[key], folder) for key in ("train", "val", "test"))
    dataset = Dataset(
        published.name,
        known_words(names, spec.classnames_file, published.renamed),
        train,
        test,
        val if len(val) else None,
        published.template,
    )
    return with_present_images(dataset, published, spec)


def parse_split(path: Path, published: Published) -> tuple[dict[str, list[_Entry]], list[str]]:
    """The entries of ``{"train": [[path, label, name], …], …}``, and raw class names by label.

    Without "val" in the file, its list is empty.

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
    except (OSError, ValueError, RecursionError) as error:
        raise malformed(f"no JSON: {error}") from None
    if not isinstance(content, dict):
        raise malformed(f"a JSON object was expected, found {type(content).__name__}")
    parts: dict[str, list[_Entry]] = {}
    names: dict[int, str] = {}
    for key in ("train", "val", "test"):
        entries = content.get(key, [] if key == "val" else None)
        if not isinstance(entries, list):
            raise malformed(f"it has no list {key!r}")
        for number, entry in enumerate(entries):
            if not _is_entry(entry):
                raise malformed(
                    f"entry {number} of {key!r} is {entry!r}, not [path, label, class name]"
                )
            _, label, name = entry
            if names.setdefault(label, name) != name:
                raise malformed(f"label {label} has two names, {names[label]!r} and {name!r}")
        parts[key] = [(entry[0], entry[1], entry[2]) for entry in entries]
    gaps = set(range(len(names) + 1)) - names.keys()
    if not names or gaps != {len(names)}:
        raise malformed(
            f"its {len(names)} labels are not the numbers from 0 on: {min(gaps)} is missing"
        )
    return parts, [names[label] for label in range(len(names))]


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list) and [type(part) for part in entry] == [str, int, str]


def _label(entries: list[_Entry], folder: str) -> LabelledImages:
    labels = np.array([label for _, label, _ in entries], dtype=np.int64)
    return LabelledImages([os.path.join(folder, path) for path, _, _ in entries], labels)


def read_aircraft(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """FGVC-Aircraft: images in the order of the lists, classes in that of ``variants.txt``.

    Raises:
        CraftZooError: a list is malformed, images are missing, or see :func:`known_words`.
    """
    names, *lists = [root / published.folder / name for name in published.lists]
    variants = [line.strip() for line in read_lines(names) if line.strip()]
    folder = os.fspath(published.image_folder(root))
    train, val, test = (_label(_read_list(path, variants), folder) for path in lists)
    words = known_words(variants, spec.classnames_file, published.renamed)
    dataset = Dataset(published.name, words, train, test, val, published.template)
    return with_present_images(dataset, published, spec)


def _read_list(path: Path, variants: list[str]) -> list[_Entry]:
    labels = {variant: label for label, variant in enumerate(variants)}
    entries = []
    for number, line in enumerate(read_lines(path), start=1):
        image, _, variant = line.strip().partition(" ")
        if not image:
            continue
        if variant.strip() not in labels:
            raise CraftZooError(
                f"{path}, line {number}: {line.strip()!r} is not an image and a variant of "
                f"variants.txt: download it again"
            )
        entries.append((f"{image}.jpg", labels[variant.strip()], variant))
    return entries


def read_resisc(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """Read the split file; without it, split each class into 50 % training, 20 % val, 30 % test.

    Raises:
        CraftZooError: see :func:`read_split`; or a class folder is missing or too small.
    """
    path = published.split_path(root)
    if path is not None and path.exists():
        return read_split(published, root, spec)
    folder = published.image_folder(root)
    classes = class_folders(folder)
    images = LabelledImages.by_class(classes, list(classes))
    rng = generator(spec.split_seed, "split")
    parts: tuple[list[int], list[int], list[int]] = [], [], []
    first = 0
    for name, found in classes.items():
        count = len(found)
        if count < _FEWEST:
            raise CraftZooError(
                f"class folder {folder / name} holds {count} images, at least {_FEWEST} are "
                f"needed: add some or remove it"
            )
        n_train, n_val = round(count * _TRAIN_SHARE), max(1, round(count * _VAL_SHARE))
        order = np.split(rng.permutation(count), [n_train, n_train + n_val])
        for part, chosen in zip(parts, order, strict=True):
            part += (first + np.sort(chosen)).tolist()
        first += count
    train, val, test = (images.take(np.array(part)) for part in parts)
    names = known_words(list(classes), spec.classnames_file, published.renamed)
    return Dataset(published.name, names, train, test, val, published.template)
