"""Image folders, the form in which most people have their data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from craft_zoo.data.classnames import read_classnames, readable
from craft_zoo.data.images import find_images
from craft_zoo.data.registry import DatasetRequest, register_dataset
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.errors import CraftZooError
from craft_zoo.seeding import generator

_TEST_SHARE = 0.5


@register_dataset("folder")
def load_folder(request: DatasetRequest) -> Dataset:
    """folder:PATH: PATH/train/<class>/ and PATH/test/<class>/, or PATH/<class>/ split in halves.

    Raises:
        CraftZooError: PATH or a class folder is missing or empty, or a class has no words.
    """
    if not request.argument:
        raise CraftZooError("data set 'folder' needs a path: write folder:PATH")
    root = Path(request.argument).expanduser()
    if not root.is_dir():
        raise CraftZooError(f"folder {root} does not exist: check the path after 'folder:'")
    has_splits = (root / "train").is_dir(), (root / "test").is_dir()
    if all(has_splits):
        train, test = _read_classes(root / "train"), _read_classes(root / "test")
        for here, there, place in ((train, test, "test"), (test, train, "train")):
            missing = sorted(set(here) - set(there))
            if missing:
                raise CraftZooError(
                    f"class folder {root / place / missing[0]} is missing: "
                    f"create it with images, or remove the class from both splits"
                )
    elif any(has_splits):
        found, lacking = ("train", "test") if has_splits[0] else ("test", "train")
        raise CraftZooError(
            f"{root} has a folder {found!r} but no {lacking!r}: add it, or give a folder "
            f"that holds the class folders directly"
        )
    else:
        train, test = _split(_read_classes(root), request.split_seed)
    words = _words(list(train), request.classnames)
    return Dataset(root.resolve().name, words, _flatten(train), _flatten(test))


def _read_classes(folder: Path) -> dict[str, list[Path]]:
    """Class folder's name → its images, both sorted."""
    classes = {
        path.name: find_images(path)
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    if len(classes) < 2:
        raise CraftZooError(
            f"{folder} holds {len(classes)} class folders, at least 2 are needed: "
            f"put the images of each class in a folder of their own"
        )
    for name, images in classes.items():
        if not images:
            raise CraftZooError(
                f"class folder {folder / name} holds no images: add some or remove it"
            )
    return classes


def _split(
    classes: dict[str, list[Path]], seed: int
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Halve each class at random, the same way for the same seed."""
    rng = generator(seed, "split")
    train, test = {}, {}
    for name, images in classes.items():
        if len(images) < 2:
            raise CraftZooError(
                f"class {name!r} has one image, too few to split into training and test: add images"
            )
        order = rng.permutation(len(images))
        n_test = max(1, int(len(images) * _TEST_SHARE))
        test[name] = [images[i] for i in sorted(order[:n_test])]
        train[name] = [images[i] for i in sorted(order[n_test:])]
    return train, test


def _words(folders: list[str], path: Path | None) -> tuple[str, ...]:
    if path is None:
        return tuple(readable(folder) for folder in folders)
    names = read_classnames(path)
    missing = [folder for folder in folders if folder not in names]
    if missing:
        raise CraftZooError(
            f"class names file {path} has no line for class {missing[0]!r}: add one"
        )
    return tuple(names[folder] for folder in folders)


def _flatten(classes: dict[str, list[Path]]) -> LabelledImages:
    labels = [label for label, images in enumerate(classes.values()) for _ in images]
    images = [image for images in classes.values() for image in images]
    return LabelledImages(images, np.array(labels, dtype=np.int64))
