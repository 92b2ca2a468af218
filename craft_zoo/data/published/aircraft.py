"""Reader of FGVC-Aircraft, whose splits are text lists of image numbers and variants."""

from __future__ import annotations

import os
from pathlib import Path

from craft_zoo.data.load import DatasetSpec
from craft_zoo.data.published.catalogue import Published
from craft_zoo.data.published.layout import (
    labelled,
    read_lines,
    with_present_images,
    words_for_classes,
)
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.errors import CraftZooError


def read_aircraft(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """Images in the order of the lists, classes in that of ``variants.txt``.

    Raises:
        CraftZooError: a list is malformed, images are missing, or see :func:`words_for_classes`.
    """
    folder = root / published.folder
    variants = [line.strip() for line in read_lines(folder / "variants.txt") if line.strip()]
    images = os.fspath(published.image_folder(root))
    train, val, test = (
        _read_list(folder / f"images_variant_{part}.txt", variants, images)
        for part in ("train", "val", "test")
    )
    names = words_for_classes(variants, spec, published.renamed)
    dataset = Dataset(published.name, names, train, test, val, published.template)
    return with_present_images(dataset, published, spec)


def _read_list(path: Path, variants: list[str], images: str) -> LabelledImages:
    labels = {variant: label for label, variant in enumerate(variants)}
    paths, found = [], []
    for number, line in enumerate(read_lines(path), start=1):
        image, _, variant = line.strip().partition(" ")
        if not image:
            continue
        if variant.strip() not in labels:
            raise CraftZooError(
                f"{path}, line {number}: {line.strip()!r} is not an image and a variant of "
                f"variants.txt: download it again"
            )
        paths.append(os.path.join(images, f"{image}.jpg"))
        found.append(labels[variant.strip()])
    return labelled(paths, found)
