"""Data sets by name: ``digits``, ``folder:PATH``, or a part of one, ``digits@base``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from craft_zoo.data.base_to_new import part_of, split_part
from craft_zoo.data.broken import without_broken
from craft_zoo.data.task import Dataset
from craft_zoo.errors import CraftZooError, did_you_mean
from craft_zoo.files import expanded
from craft_zoo.optimizers.plugins import Registry


@dataclass(frozen=True)
class DatasetRequest:
    """What the user asked for beyond the data set's name.

    Attributes:
        argument: what stood behind the colon (``PATH`` in ``folder:PATH``), "" without one.
        classnames: file with the words for each class, or None for the source's own.
        split_seed: seed of the split where the source has no test images of its own.
        root: folder that the field's data sets lie in, None where none was given.
        download: whether what is missing may be fetched.
        skip_bad: whether broken parts are left out (see :attr:`Dataset.skipped`) or complained of.
    """

    argument: str = ""
    classnames: Path | None = None
    split_seed: int = 0
    root: Path | None = None
    download: bool = False
    skip_bad: bool = False


Loader = Callable[[DatasetRequest], Dataset]

REGISTRY: Registry[Loader] = Registry(
    "data set", "craft_zoo.data", "craft_zoo.datasets", CraftZooError
)


def register_dataset(name: str) -> Callable[[Loader], Loader]:
    """Decorator: make a loader known as ``name``; its docstring's first line describes it.

    Raises:
        CraftZooError: another loader has the name.
    """

    def register(loader: Loader) -> Loader:
        REGISTRY.add(name, loader, loader)
        return loader

    return register


def dataset_names() -> dict[str, str]:
    """Every registered name with its one-line description."""
    return REGISTRY.summaries()


def load_dataset(
    spec: str,
    *,
    classnames: str | Path | None = None,
    split_seed: int = 0,
    root: str | Path | None = None,
    download: bool = False,
    skip_bad: bool = False,
) -> Dataset:
    """Open a data set by name.

    Args:
        spec: ``name`` or ``name:argument``, for instance ``digits`` or ``folder:~/pets``; behind
            any, ``@base`` or ``@new`` for one part of the classes, see
            :func:`craft_zoo.data.part_of`.
        classnames: see :func:`craft_zoo.data.read_classnames`.
        split_seed: seed of the train/test split where the source has none of its own.
        root: folder that the field's data sets lie in; None: the environment's CRAFT_ZOO_DATA.
        download: fetch what is missing, where that can be done.
        skip_bad: open every image, and leave broken ones and other broken parts out, see
            :attr:`Dataset.skipped`, instead of complaining.

    Raises:
        CraftZooError: unknown name, or the source is missing or broken.
    """
    source, part = split_part(spec)
    name, _, argument = source.partition(":")
    REGISTRY.load()
    if name not in REGISTRY.things:
        hint = did_you_mean(name, REGISTRY.things)
        if expanded(spec).is_dir():  # whatever it is called, that is what was meant
            hint = f"did you mean folder:{spec}? "
        elif expanded(spec).is_file():
            hint = f"did you mean manifest:{spec}? "
        raise CraftZooError(
            f"unknown data set {spec!r}: {hint}choose from {', '.join(sorted(REGISTRY.things))} "
            f"(your own images: folder:PATH)"
        )
    path = expanded(classnames) if classnames is not None else None
    root = root or os.environ.get("CRAFT_ZOO_DATA") or None
    folder = None if root is None else expanded(root)
    dataset = REGISTRY.find(name)(
        DatasetRequest(argument, path, split_seed, folder, download=download, skip_bad=skip_bad)
    )
    if skip_bad:
        dataset = without_broken(dataset)
    return dataset if part is None else part_of(dataset, part)
