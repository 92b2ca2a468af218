"""Helpers for readers of published data sets: required files, class folders, missing images."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from craft_zoo.data.broken import without_images
from craft_zoo.data.image_files import list_files
from craft_zoo.data.load import DatasetSpec
from craft_zoo.data.published.catalogue import Published
from craft_zoo.data.task import Dataset
from craft_zoo.data.text_files import read_text
from craft_zoo.errors import CraftZooError

Classes = dict[str, list[str]]  # class folder's name → its images, both sorted


def missing_files(published: Published, root: Path) -> list[Path]:
    """Files and folders that the layout requires and that are missing under the data root."""
    split, images = published.split_path(root), published.image_folder(root)
    needed = [] if split is None or published.split_optional else [split]
    if published.images:
        needed.append(images)
    needed += [images / part for part in published.parts]
    needed += [root / published.folder / name for name in published.lists]
    return [path for path in needed if not path.exists()]


def require_files(published: Published, root: Path) -> None:
    """Check that :func:`missing_files` is empty.

    Raises:
        CraftZooError: a file is missing; the message says where to get it.
    """
    for path in missing_files(published, root):
        is_split = path == published.split_path(root)
        fetched = ""
        if is_split or published.by_hand is None:
            fetched = ", or add download=True (--download)"
        raise CraftZooError(
            f"data set {published.name} needs {path}, which is missing: download it from "
            f"{published.split_from if is_split else published.images_from}{fetched} "
            f"(docs/datasets.md)"
        )


def read_lines(path: Path) -> list[str]:
    """Lines of a text file.

    Raises:
        CraftZooError: the file cannot be read.
    """
    try:
        return read_text(path).split("\n")
    except OSError as error:
        raise CraftZooError(f"{path} cannot be read ({error}): download it again") from None
    except CraftZooError as error:
        raise CraftZooError(f"{error}, or download it again") from None


def class_folders(folder: Path) -> Classes:
    """The class folders in ``folder``, with all images in them.

    Raises:
        CraftZooError: there are fewer than 2 class folders.
    """
    found = {
        path.name: [os.fspath(image) for image in list_files(path).images]  # str needs less memory
        for path in list_files(folder, below=False).folders
    }
    if len(found) < 2:
        raise CraftZooError(
            f"{folder} holds {len(found)} class folders, at least 2 are needed: put the images of "
            f"each class in a folder of their own (docs/datasets.md)"
        )
    return found


def with_present_images(dataset: Dataset, published: Published, spec: DatasetSpec) -> Dataset:
    """The data set without images whose files are missing; :attr:`Dataset.skipped` lists them.

    Raises:
        CraftZooError: images are missing and ``skip_bad`` is false, or a class has no training or
            no test image left.
    """

    @cache  # lists each folder once, as checking each file would be slow
    def names(folder: str) -> frozenset[str]:
        try:
            return frozenset(os.listdir(folder))
        except OSError:
            return frozenset()

    def is_present(path: str) -> bool:
        folder, name = os.path.split(path)
        # On a case-insensitive file system, a file may exist under another listed name.
        return name in names(folder) or os.path.isfile(path)

    missing = [
        {i: path for i, path in enumerate(part.images if part else ()) if not is_present(str(path))}
        for part in dataset.parts
    ]
    paths = [path for part in missing for path in part.values()]
    if not paths:
        return dataset
    if not spec.skip_bad:
        total = sum(len(part) for part in dataset.parts if part)
        raise CraftZooError(
            f"{len(paths):,} of {total:,} images of data set {dataset.name} are missing, the first "
            f"{paths[0]}: get them from {published.images_from} or add skip_bad=True (--skip-bad)"
        )
    faults = [{i: f"image {path} does not exist" for i, path in part.items()} for part in missing]
    rest = f"left, all files are missing: get them from {published.images_from}"
    return without_images(dataset, faults, rest)
