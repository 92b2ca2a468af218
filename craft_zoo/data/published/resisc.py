"""Reader of RESISC45: BlackVIP's split file, or class folders split in CoOp's proportions."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from craft_zoo.data.image_files import find_images
from craft_zoo.data.load import DatasetSpec
from craft_zoo.data.published.catalogue import Published
from craft_zoo.data.published.layout import labelled, words_for_classes
from craft_zoo.data.published.split import read_split
from craft_zoo.data.task import Dataset
from craft_zoo.errors import CraftZooError
from craft_zoo.seeding import generator

_TRAIN_SHARE, _VAL_SHARE = 0.5, 0.2
_FEWEST = 4  # images per class, so that each split gets one


def read_resisc(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """Read the split file; without it, split each class into 50 % training, 20 % val, 30 % test.

    Raises:
        CraftZooError: see :func:`read_split`; or a class folder is missing or too small.
    """
    path = published.split_path(root)
    if path is not None and path.exists():
        return read_split(published, root, spec)
    folder = published.image_folder(root)
    classes = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if len(classes) < 2:
        raise CraftZooError(
            f"{folder} holds {len(classes)} class folders, at least 2 are needed: extract the "
            f"images of {published.images_from} there"
        )
    parts: tuple[list[str], list[str], list[str]] = [], [], []
    labels: tuple[list[int], list[int], list[int]] = [], [], []
    rng = generator(spec.split_seed, "split")
    for label, one in enumerate(classes):
        images = [os.fspath(image) for image in find_images(one)]
        if len(images) < _FEWEST:
            raise CraftZooError(
                f"class folder {one} holds {len(images)} images, at least {_FEWEST} are needed: "
                f"add some or remove it"
            )
        n_train = round(len(images) * _TRAIN_SHARE)
        n_val = max(1, round(len(images) * _VAL_SHARE))
        order = np.split(rng.permutation(len(images)), [n_train, n_train + n_val])
        for part, numbers, chosen in zip(parts, labels, order, strict=True):
            part += [images[i] for i in np.sort(chosen)]
            numbers += [label] * len(chosen)
    train, val, test = map(labelled, parts, labels)
    names = words_for_classes([one.name for one in classes], spec, published.renamed)
    return Dataset(published.name, names, train, test, val, published.template)
