"""CoOp's base-to-new split: the first half of a data set's classes, or the second."""

from __future__ import annotations

from dataclasses import replace

from craft_zoo.data.task import Dataset
from craft_zoo.errors import CraftZooError

PARTS = ("base", "new")


def split_part(spec: str) -> tuple[str, str | None]:
    """Split ``@base`` or ``@new`` off a data set's name: (name, "base", "new" or None)."""
    rest, _, part = spec.rpartition("@")
    return (rest, part) if part in PARTS else (spec, None)


def part_of(dataset: Dataset, part: str) -> Dataset:
    """The data set restricted to one part of its classes, with labels from 0 on.

    Of C classes in the order of their labels, the first ceil(C / 2) are ``base`` and the others
    ``new``.

    Raises:
        CraftZooError: the part has fewer than 2 classes.
    """
    n_base = (len(dataset.classnames) + 1) // 2
    labels = list(range(len(dataset.classnames)))
    labels = labels[:n_base] if part == "base" else labels[n_base:]
    if len(labels) < 2:
        raise CraftZooError(
            f"@{part} of {dataset.name} would have {len(labels)} of its "
            f"{len(dataset.classnames)} classes, at least 2 are needed: use all of them"
        )
    return replace(
        dataset,
        name=f"{dataset.name} ({part} classes)",
        classnames=tuple(dataset.classnames[label] for label in labels),
        train=dataset.train.of_classes(labels),
        test=dataset.test.of_classes(labels),
        val=None if dataset.val is None else dataset.val.of_classes(labels),
        whole=dataset,
    )
