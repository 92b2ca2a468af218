"""Image folders, the form in which most people have their data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from craft_zoo.data.classnames import words_for
from craft_zoo.data.faults import Faults
from craft_zoo.data.image_files import find_images
from craft_zoo.data.registry import DatasetRequest, register_dataset
from craft_zoo.data.splits import halve
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.errors import CraftZooError

_Classes = dict[str, list[Path]]  # class folder's name → its images, both sorted


@register_dataset("folder")
def load_folder(request: DatasetRequest) -> Dataset:
    """folder:PATH: PATH/train/<class>/ and PATH/test/<class>/, or PATH/<class>/ split in halves.

    Beside the first two, PATH/val/<class>/ is read where it exists. Files that are no images are
    passed over.

    Raises:
        CraftZooError: PATH or a class folder is missing or empty, an image lies outside them, or a
            class has no words.
    """
    if not request.argument:
        raise CraftZooError("data set 'folder' needs a path: write folder:PATH")
    root = Path(request.argument).expanduser()
    if not root.is_dir():
        raise CraftZooError(f"folder {root} does not exist: check the path after 'folder:'")
    faults = Faults(request.skip_bad)
    has_splits = (root / "train").is_dir(), (root / "test").is_dir()
    val = None
    if all(has_splits):
        parts = {name: _read_classes(root / name, faults) for name in ("train", "test")}
        for here, there in (("train", "test"), ("test", "train")):
            _check_classes(parts[here], parts[there], root / there)
        if (root / "val").is_dir():
            parts["val"] = _read_classes(root / "val", faults)
            _check_classes(parts["val"], parts["train"], root / "train")
        _check_labelled(root, faults)
        classes = list(parts["train"])
        train, test = _label(parts["train"], classes), _label(parts["test"], classes)
        val = _label(parts["val"], classes) if "val" in parts else None
    elif any(has_splits):
        found, lacking = ("train", "test") if has_splits[0] else ("test", "train")
        raise CraftZooError(
            f"{root} has a folder {found!r} but no {lacking!r}: add it, or give a folder "
            f"that holds the class folders directly"
        )
    else:
        images = _read_classes(root, faults)
        classes = list(images)
        train, test = halve(_label(images, classes), classes, request.split_seed)
    return Dataset(
        root.resolve().name,
        words_for(classes, request.classnames),
        train,
        test,
        val,
        skipped=tuple(faults.found),
    )


def _read_classes(folder: Path, faults: Faults) -> _Classes:
    classes = {
        path.name: find_images(path)
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    _check_count(folder, len(classes), "class folders")
    for name in [name for name, images in classes.items() if not images]:
        faults.add(f"class folder {folder / name} holds no images", "add some, remove it")
        del classes[name]
    _check_count(folder, len(classes), "class folders with images")
    _check_labelled(folder, faults)
    return classes


def _check_count(folder: Path, count: int, kind: str) -> None:
    if count < 2:
        raise CraftZooError(
            f"{folder} holds {count} {kind}, at least 2 are needed: "
            f"put the images of each class in a folder of their own"
        )


def _check_labelled(folder: Path, faults: Faults) -> None:
    for path in find_images(folder):
        faults.add(f"image {path} lies in no class folder", "move it into a class folder")


def _check_classes(here: _Classes, there: _Classes, folder: Path) -> None:
    """That each class found here is there too, in ``folder``."""
    missing = sorted(set(here) - set(there))
    if missing:
        path = folder / missing[0]
        fault = "holds no images" if path.is_dir() else "is missing"
        raise CraftZooError(
            f"class folder {path} {fault}: "
            f"create it with images, or remove the class from all splits"
        )


def _label(images: _Classes, classes: list[str]) -> LabelledImages:
    labels = [label for label, name in enumerate(classes) for _ in images.get(name, ())]
    return LabelledImages(
        [path for name in classes for path in images.get(name, ())],
        np.array(labels, dtype=np.int64),
    )
