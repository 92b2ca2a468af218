"""Readers of ImageNet and its shifted test sets: class folders, words in ``classnames.txt``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from craft_zoo.data.classnames import known_words, read_classnames
from craft_zoo.data.load import DatasetSpec
from craft_zoo.data.published.catalogue import Published
from craft_zoo.data.published.layout import Classes, class_folders
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.errors import CraftZooError

# CLIP's list gives two pairs of classes the same words; these are WordNet's words for the class of
# each pair whose words CLIP has changed.
_TOLD_APART = {"n04008634": "projectile", "n04355933": "sunglass"}


def read_imagenet(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """Training images, and the validation images as test images; classes in order of their ids.

    Raises:
        CraftZooError: a class folder is missing or has no words.
    """
    folders = [published.image_folder(root) / part for part in published.parts]
    train, test = (class_folders(folder) for folder in folders)
    for here, there, folder in ((train, test, folders[1]), (test, train, folders[0])):
        lacking = sorted(here.keys() - there.keys())
        if lacking:
            raise CraftZooError(
                f"class folder {folder / lacking[0]} is missing: add it, or remove the class "
                f"from both train and val"
            )
    return _dataset(published, root, spec, train, test)


def read_shift(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """Test images only, of ImageNet's classes or a part of them, in ImageNet's order.

    Raises:
        CraftZooError: there are no class folders, or one has no words.
    """
    return _dataset(published, root, spec, {}, class_folders(published.image_folder(root)))


def read_numbered_shift(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """As :func:`read_shift`, for class folders that are named by ImageNet's labels, 0 to 999.

    Raises:
        CraftZooError: there are no class folders, or the name of one is not a label.
    """
    known = sorted(_words(published, root))
    folder = published.image_folder(root)
    classes: Classes = {}
    for name, images in class_folders(folder).items():
        if not name.isdecimal() or int(name) >= len(known):
            raise CraftZooError(
                f"class folder {folder / name} is not called by one of ImageNet's labels, 0 to "
                f"{len(known) - 1}: remove it"
            )
        classes[known[int(name)]] = images
    return _dataset(published, root, spec, {}, classes)


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
    published: Published, root: Path, spec: DatasetSpec, train: Classes, test: Classes
) -> Dataset:
    """The data set of class folders, with classes in the order of their ids."""
    names, ids = _words(published, root), sorted(test)
    for class_id in ids:
        if class_id not in names:
            raise CraftZooError(
                f"{published.split_path(root)} has no line for class folder {class_id!r} of "
                f"{published.name}: download the file again from {published.split_from} or remove "
                f"the folder"
            )
    return Dataset(
        published.name,
        known_words(ids, spec.classnames_file, names),
        LabelledImages.by_class(train, ids),
        LabelledImages.by_class(test, ids),
        template=published.template,
    )
