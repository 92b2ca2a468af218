"""Readers of CIFAR's binary files and SVHN's Matlab files (32 x 32 pixels, kept in memory)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from craft_zoo.data.classnames import known_words
from craft_zoo.data.load import DatasetSpec
from craft_zoo.data.published.catalogue import Published
from craft_zoo.data.published.layout import read_lines
from craft_zoo.data.task import Dataset, LabelledImages
from craft_zoo.errors import CraftZooError

_SIDE = 32
_LABEL_BYTES = {"cifar10": 1, "cifar100": 2}  # before the pixels; the last one is the class


def read_cifar(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """The binary version of CIFAR-10 or CIFAR-100.

    Raises:
        CraftZooError: a file is truncated, or has a label without a name.
    """
    names, *batches = [root / published.folder / name for name in published.lists]
    raw = [line.strip() for line in read_lines(names) if line.strip()]
    n_labels = _LABEL_BYTES[published.name]
    *train, test = [_read_batch(path, n_labels, len(raw)) for path in batches]
    return Dataset(
        published.name,
        known_words(raw, spec.classnames_file, published.renamed),
        sum(train[1:], start=train[0]),
        test,
        template=published.template,
    )


def _read_batch(path: Path, n_labels: int, n_classes: int) -> LabelledImages:
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise CraftZooError(f"{path} cannot be read ({error}): check it") from None
    record = n_labels + 3 * _SIDE * _SIDE
    if not content.size or content.size % record:
        raise CraftZooError(
            f"{path} holds {content.size:,} bytes, no whole number of records of {record:,}: "
            f"download it again"
        )
    records = content.reshape(-1, record)
    labels = records[:, n_labels - 1].astype(np.int64)
    if labels.max() >= n_classes:
        raise CraftZooError(
            f"{path} has the label {labels.max()}, and there are names for {n_classes} classes: "
            f"download it again"
        )
    planes = records[:, n_labels:].reshape(-1, 3, _SIDE, _SIDE)
    return LabelledImages(list(np.ascontiguousarray(planes.transpose(0, 2, 3, 1))), labels)


def read_svhn(published: Published, root: Path, spec: DatasetSpec) -> Dataset:
    """SVHN's cropped digits; label 10 in the files means the digit 0.

    Raises:
        CraftZooError: a file does not have SVHN's format.
    """
    train, test = (_read_mat(root / published.folder / name) for name in published.lists)
    names = known_words("0123456789", spec.classnames_file, published.renamed)
    return Dataset(published.name, names, train, test, template=published.template)


def _read_mat(path: Path) -> LabelledImages:
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=("X", "y"))
        pixels, labels = np.asarray(content["X"]), np.asarray(content["y"]).ravel()
        if pixels.dtype != np.uint8 or pixels.shape != (_SIDE, _SIDE, 3, len(labels)):
            raise ValueError(f"X is {pixels.dtype} of shape {pixels.shape} for {len(labels)} y")
        if not np.isin(labels, np.arange(1, 11)).all():
            raise ValueError("y is not from 1 to 10")
    except Exception as error:  # scipy raises many exceptions for damaged files
        raise CraftZooError(
            f"{path} is not a file of SVHN ({type(error).__name__}: {error}): download it again"
        ) from None
    images = np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))
    return LabelledImages(list(images), labels.astype(np.int64) % 10)
