"""Published benchmark data sets by name, in their published layouts.

Each has its own folder under one data root, as CoOp, CraFT, BlackVIP and ZIP expect;
``docs/datasets.md`` shows the layouts. Importing this package registers all data sets.

- :func:`published_datasets`, :class:`Published`, :class:`Sizes`: descriptions, without the data
- :func:`check_datasets`, :class:`Finding`: data sets under a data root and their completeness
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from craft_zoo.data.load import DatasetSpec, Loader, register_dataset
from craft_zoo.data.published.binary import read_cifar, read_svhn
from craft_zoo.data.published.catalogue import Published, Sizes, published_datasets
from craft_zoo.data.published.check import Finding, check_datasets
from craft_zoo.data.published.download import download_missing
from craft_zoo.data.published.imagenet import read_imagenet, read_numbered_shift, read_shift
from craft_zoo.data.published.layout import require_files
from craft_zoo.data.published.split import read_aircraft, read_resisc, read_split
from craft_zoo.data.task import Dataset
from craft_zoo.errors import CraftZooError

__all__ = ["Finding", "Published", "Sizes", "check_datasets", "published_datasets"]

Reader = Callable[[Published, Path, DatasetSpec], Dataset]

# All other data sets have a split file in CoOp's format.
_READERS: dict[str, Reader] = {
    "imagenet": read_imagenet,
    "imagenetv2": read_numbered_shift,
    "imagenet-sketch": read_shift,
    "imagenet-a": read_shift,
    "imagenet-r": read_shift,
    "fgvc_aircraft": read_aircraft,
    "cifar10": read_cifar,
    "cifar100": read_cifar,
    "svhn": read_svhn,
    "resisc45": read_resisc,
}


def _loader(published: Published) -> Loader:
    read = _READERS.get(published.name, read_split)

    def load(spec: DatasetSpec) -> Dataset:
        spec.check_no_argument()
        if spec.data_root is None:
            raise CraftZooError(
                f"data set {published.name} needs its folder: add root (--data-root DIR), the "
                f"folder that holds {published.folder}/"
            )
        if spec.download:
            download_missing(published, spec.data_root)
        require_files(published, spec.data_root)
        return read(published, spec.data_root, spec)

    train, _, test = published.sizes
    images = f"{train:,} training and {test:,} test images" if train else f"{test:,} test images"
    load.__doc__ = f"{published.title}: {published.n_classes:,} classes, {images} (--data-root)"
    return load


for _published in published_datasets().values():
    register_dataset(_published.name)(_loader(_published))
