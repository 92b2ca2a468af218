"""Readers of ImageNet and its shifted test sets: class folders, words in ``classnames.txt``."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from craft_zoo.data.classnames import read_classnames
from craft_zoo.data.image_files import find_images
from craft_zoo.data.load import DatasetSpec
from craft_zoo.data.published.catalogue import Published
from craft_zoo.data.published.layout import labelled, words_for_classes
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.errors import CraftZooError

# CLIP's list gives two pairs of classes the same words; these are WordNet's words for the class of
# each pair whose words CLIP has changed.
_TOLD_APART = {"n04008634": "projectile", "n04355933": "sunglass"}

_Classes = dict[str, list[str]]  # class folder's name → its images, sorted


def read_imagenet(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """Training images, and the validation images as test images; classes in order of their ids.

    Raises:
        CraftZooError: a class folder is missing or has no words.
    """
    folders = [published.image_folder(root) / part for part in published.parts]
    train, test = (_read_classes(folder) for folder in folders)
    for here, there, folder in ((train, test, folders[1]), (test, train, folders[0])):
        lacking = sorted(here.keys() - there.keys())
        if lacking:
            raise CraftZooError(
                f"class folder {folder / lacking[0]} is missing: add it, or remove the class "
                f"from both train and val"
            )
    return _dataset(published, root, spec, _words(published, root), train, test)


def read_shift(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """Test images only, of ImageNet's classes or a part of them, in ImageNet's order.

    Raises:
        CraftZooError: there are no class folders, or one has no words.
    """
    names = _words(published, root)
    classes = _read_classes(published.image_folder(root))
    return _dataset(published, root, spec, names, {}, classes)


def read_numbered_shift(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """As :func:`read_shift`, for class folders that are named by ImageNet's labels, 0 to 999.

    Raises:
        CraftZooError: there are no class folders, or the name of one is not a label.
    """
    names = _words(published, root)
    known = sorted(names)
    folder = published.image_folder(root)
    classes: _Classes = {}
    for name, images in _read_classes(folder).items():
        if not name.isdecimal() or int(name) >= len(known):
            raise CraftZooError(
                f"class folder {folder / name} is not called by one of ImageNet's labels, 0 to "
                f"{len(known) - 1}: remove it"
            )
        classes[known[int(name)]] = images
    return _dataset(published, root, spec, names, {}, classes)


def _words(published: Published, root: Path) -> dict[str, str]:
    """Class id → words for all ImageNet classes, so that shifts have the same words as ImageNet."""
    path = published.split_path(root)
    assert path is not None
    names = read_classnames(path)
    count = Counter(names.values())
    for class_id, words in _TOLD_APART.items():
        if count[names.get(class_id, "")] > 1:
            names[class_id] = words
    return names


def _dataset(
    published: Published,
    root: Path,
    spec: DatasetSpec,
    names: dict[str, str],
    train: _Classes,
    test: _Classes,
) -> Dataset:
    """The data set of class folders, with classes in the order of their ids."""
    ids = sorted(test)
    for class_id in ids:
        if class_id not in names:
            raise CraftZooError(
                f"{published.split_path(root)} has no line for class folder {class_id!r} of "
                f"{published.name}: download the file again from {published.split_from} or remove "
                f"the folder"
            )
    return Dataset(
        published.name,
        words_for_classes(ids, spec, names),
        _flatten(train, ids),
        _flatten(test, ids),
        template=published.template,
    )


def _read_classes(folder: Path) -> _Classes:
    found = {
        path.name: [os.fspath(image) for image in find_images(path)]  # str needs less memory
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    }
    if len(found) < 2:
        raise CraftZooError(
            f"{folder} holds {len(found)} class folders, at least 2 are needed: put the images of "
            f"each class in a folder of their own (docs/datasets.md)"
        )
    return found


def _flatten(classes: _Classes, ids: list[str]) -> LabelledImages:
    return labelled(
        [image for class_id in ids for image in classes.get(class_id, ())],
        (label for label, class_id in enumerate(ids) for _ in classes.get(class_id, ())),
    )
