"""Data sets in folders with one subfolder of images per class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from craft_zoo.data.broken import SkippedParts
from craft_zoo.data.classnames import in_order, readable, words_for
from craft_zoo.data.image_files import FolderFiles, list_files
from craft_zoo.data.load import DatasetSpec, register_dataset
from craft_zoo.data.naming import composed
from craft_zoo.data.splits import find_splits, split_meant, three_splits
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.errors import CraftZooError
from craft_zoo.files import expanded
from craft_zoo.printable import printable

_Classes = dict[str, list[Path]]  # class folder's name → its images, both sorted


@register_dataset("folder")
def load_folder(spec: DatasetSpec) -> Dataset:
    """folder:PATH: PATH/train/<class>/ and PATH/test/<class>/, or PATH/<class>/ split in halves.

    With train and test, PATH/val/<class>/ is read too if it exists; without test, val is used for
    testing. Class folders are searched recursively. :attr:`Dataset.skipped` lists what is skipped.

    Raises:
        CraftZooError: PATH or a class folder is missing or empty, an image is outside the class
            folders, or two classes have the same words.
    """
    if not spec.argument:
        raise CraftZooError("data set 'folder' needs a path: write folder:PATH")
    root = expanded(spec.argument)
    if not root.is_dir():
        raise CraftZooError(
            f"folder {printable(root)} does not exist: check the path after 'folder:'"
        )
    skipped = SkippedParts(spec.skip_bad)
    splits = _find_splits(root) or {"train": root}
    parts = {name: _read_classes(folder, skipped) for name, folder in splits.items()}
    classes = list(parts["train"])
    if len(splits) > 1:
        test = "test" if "test" in parts else "val"
        _check_classes(parts["train"], parts[test], splits[test])
        for name in parts:
            _check_classes(parts[name], parts["train"], splits["train"])
        _look_beside(root, splits.values(), skipped)
    found = {name: LabelledImages.by_class(images, classes) for name, images in parts.items()}
    train, val, tested = three_splits(found, classes, spec.split_seed)
    words = words_for(classes, spec.classnames_file)
    name = root.resolve().name
    return Dataset(name, words, train, tested, val, skipped=skipped.sentences())


def _find_splits(root: Path) -> dict[str, Path]:
    """The folders of ``train``, ``val`` and ``test``; empty if root contains the class folders."""
    folders = {path.name: path for path in list_files(root, below=False).folders}
    # A folder that contains only images is a class, for instance "train" among vehicles.
    inside = {name: list_files(path, below=False) for name, path in folders.items()}
    named = [name for name, found in inside.items() if found.folders or not found.images]
    found = find_splits(named, f"folder {printable(root)}")
    if "train" in found and len(found) > 1:
        return {part: folders[found[part]] for part in ("train", "test", "val") if part in found}
    for part, lacking in (("train", "test"), ("test", "train")):
        if part in found:
            raise CraftZooError(
                f"{printable(root)} has a folder {found[part]!r} but no {lacking!r}: add it, or "
                f"give a folder that holds the class folders directly"
            )
    _check_no_other_splits(root, inside)
    return {}


def _check_no_other_splits(root: Path, inside: Mapping[str, FolderFiles]) -> None:
    """Check that class folders are no splits of other names, ``train_set`` beside ``test_set``."""
    meant = {name: part for name in inside if (part := split_meant(name)) is not None}
    nested = not any(inside[name].images for name in meant)
    if len(set(meant.values())) > 1 and (nested or len(meant) == len(inside)):
        names = " and ".join(repr(name) for name in sorted(meant))
        raise CraftZooError(
            f"folders {names} in {printable(root)} are splits by their names and would be classes: "
            f"put class folders into train/ and test/, or name a table of labels (manifest:FILE)"
        )


def _read_classes(folder: Path, skipped: SkippedParts) -> _Classes:
    listed = list_files(folder, below=False)
    skipped.files += listed.left_out
    _check_count(folder, len(listed.folders), "class folders")
    classes: _Classes = {}
    for path in listed.folders:
        name = composed(path.name)
        if name in classes:
            raise CraftZooError(
                f"{printable(folder)} holds two class folders {name!r}, which differ in the "
                f"Unicode form of their names only: put their images into one"
            )
        inside = list_files(path)
        _check_no_splits(path, inside.folders)
        skipped.files += inside.left_out
        classes[name] = inside.images
        if not inside.images:
            unopened = sorted({one.mend for one in inside.left_out if one.mend is not None})
            here = f" that can be opened here ({'; '.join(unopened)})" if unopened else ""
            skipped.add(
                f"class folder {printable(path)} holds no images{here}", "add some, remove it"
            )
    classes = {name: classes[name] for name in in_order(list(classes)) if classes[name]}
    _check_count(folder, len(classes), "class folders with images")
    for path in listed.images:
        _add_unlabelled(path, skipped)
    return classes


def _check_count(folder: Path, count: int, kind: str) -> None:
    if count < 2:
        raise CraftZooError(
            f"{printable(folder)} holds {count} {kind}, at least 2 are needed: "
            f"put the images of each class in a folder of their own"
        )


def _check_no_splits(folder: Path, inside: Iterable[Path]) -> None:
    """Check that a class folder contains no folders of splits, which would be merged."""
    splits = find_splits([path.name for path in inside], f"class folder {printable(folder)}")
    if "train" in splits and len(splits) > 1:
        raise CraftZooError(
            f"class folder {printable(folder)} holds a folder {splits['train']!r} for training and "
            f"others for testing: put the class folders into train/ and test/ instead"
        )


def _add_unlabelled(path: Path, skipped: SkippedParts) -> None:
    skipped.add(f"image {printable(path)} lies in no class folder", "move it into a class folder")


def _look_beside(root: Path, splits: Iterable[Path], skipped: SkippedParts) -> None:
    """Report images outside the splits' folders, and record other files and folders there."""
    listed, used = list_files(root, below=False), set(splits)
    for path in listed.images:
        _add_unlabelled(path, skipped)
    skipped.files += listed.left_out
    skipped.found += [
        f"folder {printable(path)} is none of {', '.join(sorted(one.name for one in used))}"
        for path in listed.folders
        if path not in used
    ]


def _check_classes(here: _Classes, there: _Classes, folder: Path) -> None:
    """Check that each class of ``here`` is also in ``there``, which is read from ``folder``."""
    missing = sorted(set(here) - set(there))
    if missing:
        path = folder / missing[0]
        if alike := [name for name in there if readable(name) == readable(missing[0])]:
            raise CraftZooError(
                f"class folder {printable(path)} is missing, {printable(folder / alike[0])} is "
                f"there: give a class the same name in all splits"
            )
        fault = "holds no images" if path.is_dir() else "is missing"
        raise CraftZooError(
            f"class folder {printable(path)} {fault}: "
            f"create it with images, or remove the class from all splits"
        )
