"""Opens data sets by name: ``digits``, ``folder:PATH``, or ``digits@base`` for half the classes.

``@base`` and ``@new`` are CoOp's base-to-new split.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from craft_zoo.data.broken import without_broken
from craft_zoo.data.sampling import Fewer, Sampling, few_shot
from craft_zoo.data.task import Dataset, Task
from craft_zoo.errors import CraftZooError, did_you_mean
from craft_zoo.files import expanded
from craft_zoo.optimizers.plugins import Registry

_PARTS = ("base", "new")


def split_part(name: str) -> tuple[str, str | None]:
    """Split ``@base`` or ``@new`` off a data set's name: (name, "base", "new" or None)."""
    rest, _, part = name.rpartition("@")
    return (rest, part) if part in _PARTS else (name, None)


@dataclass(frozen=True)
class DatasetSpec:
    """Choice of a data set, and of the settings for opening it and drawing shots.

    Attributes:
        name: ``name`` or ``name:argument``, for instance ``digits`` or ``folder:~/pets``, with an
            optional suffix ``@base`` or ``@new`` for one part of the classes, see
            :func:`craft_zoo.data.part_of`.
        classnames: file with words for the classes, see :func:`craft_zoo.data.read_classnames`;
            None: the words of the source.
        root: folder of the published data sets; None: the environment variable CRAFT_ZOO_DATA.
        download: download missing files if possible.
        skip_bad: open every image and skip broken ones and other broken parts, see
            :attr:`Dataset.skipped`, instead of raising an error.
        split_seed: seed of the train/test split if the source has no splits.
        sampling: how shots are drawn, see :func:`few_shot`.
        fewer: behaviour for classes with fewer images than shots, see :func:`few_shot`.
    """

    name: str
    classnames: str | None = None
    root: str | None = None
    download: bool = False
    skip_bad: bool = False
    split_seed: int = 0
    sampling: Sampling = "uniform"
    fewer: Fewer = "error"

    @property
    def kind(self) -> str:
        """The registered name, for instance ``folder``."""
        return split_part(self.name)[0].partition(":")[0]

    @property
    def argument(self) -> str:
        """The text after the colon, without ``@base`` or ``@new``; "" without a colon."""
        return split_part(self.name)[0].partition(":")[2]

    @property
    def classnames_file(self) -> Path | None:
        """:attr:`classnames` as a path."""
        return None if self.classnames is None else expanded(self.classnames)

    @property
    def data_root(self) -> Path | None:
        """:attr:`root` or CRAFT_ZOO_DATA as a path; None where neither is given."""
        root = self.root or os.environ.get("CRAFT_ZOO_DATA")
        return expanded(root) if root else None

    def check_no_argument(self) -> None:
        """Raise CraftZooError if there is an argument."""
        if self.argument:
            raise CraftZooError(
                f"data set {self.kind!r} takes no argument: leave out {self.argument!r}"
            )

    def other(self, name: str) -> DatasetSpec:
        """The specification of another data set with the same settings, without classnames."""
        return replace(self, name=name, classnames=None)

    def open(self) -> Dataset:
        """Open the data set, see :func:`load_dataset`."""
        name, part = self.name, split_part(self.name)[1]
        REGISTRY.load()
        if self.kind not in {**REGISTRY.items, **REGISTRY.broken}:
            hint = did_you_mean(self.kind, REGISTRY.items)
            if expanded(name).is_dir():  # the user forgot the prefix
                hint = f"did you mean folder:{name}? "
            elif expanded(name).is_file():
                hint = f"did you mean manifest:{name}? "
            raise CraftZooError(
                f"unknown data set {name!r}: {hint}choose from "
                f"{', '.join(sorted(REGISTRY.items))} (your own images: folder:PATH)"
            )
        dataset = REGISTRY.find(self.kind)(self)
        if self.skip_bad:
            dataset = without_broken(dataset)
        return dataset if part is None else part_of(dataset, part)

    def draw(self, dataset: Dataset, shots: int, seed: int) -> Task:
        """A task from the opened data set, see :func:`few_shot`."""
        return few_shot(dataset, shots, seed, sampling=self.sampling, fewer=self.fewer)


class OpenedDatasets:
    """Cache of data sets, so that a command opens each only once."""

    def __init__(self) -> None:
        self._opened: dict[DatasetSpec, Dataset] = {}

    def open(self, spec: DatasetSpec) -> Dataset:
        """The data set of a spec.

        Raises:
            CraftZooError: see :func:`load_dataset`.
        """
        spec = replace(spec, sampling="uniform", fewer="error")  # these only affect drawing
        if spec not in self._opened:
            self._opened[spec] = spec.open()
        return self._opened[spec]

    def skipped(self) -> dict[str, tuple[str, ...]]:
        """Name of each data set → its skipped parts."""
        return {dataset.name: dataset.skipped for dataset in self._opened.values()}


def part_of(dataset: Dataset, part: str) -> Dataset:
    """The data set restricted to one part of its classes, with labels from 0 on.

    Of C classes in the order of their labels, the first ceil(C / 2) are ``base`` and the others
    ``new``.

    Raises:
        CraftZooError: the part has fewer than 2 classes.
    """
    n_base = (len(dataset.classnames) + 1) // 2
    every = range(len(dataset.classnames))
    labels = list(every[:n_base] if part == "base" else every[n_base:])
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


Loader = Callable[[DatasetSpec], Dataset]

REGISTRY: Registry[Loader] = Registry(
    "data set", "craft_zoo.data", "craft_zoo.datasets", CraftZooError
)


def register_dataset(name: str) -> Callable[[Loader], Loader]:
    """Decorator: register a loader as ``name``; its docstring's first line is its description.

    Raises:
        CraftZooError: another loader has this name.
    """
    return REGISTRY.register(name)


def dataset_names() -> dict[str, str]:
    """Every registered name with its one-line description."""
    return REGISTRY.summaries()


def load_dataset(
    name: str,
    *,
    classnames: str | Path | None = None,
    split_seed: int = 0,
    root: str | Path | None = None,
    download: bool = False,
    skip_bad: bool = False,
) -> Dataset:
    """Open a data set by name; the arguments are :class:`DatasetSpec`'s.

    Raises:
        CraftZooError: unknown name, or the source is missing or broken.
    """
    if not isinstance(name, str):
        raise CraftZooError(
            f"a data set's name must be text, as 'folder:pets', not {type(name).__name__}: for "
            f"images and labels in memory make a Dataset or a Task of LabelledImages"
        )
    return DatasetSpec(
        name,
        classnames=None if classnames is None else str(classnames),
        root=None if root is None else str(root),
        download=download,
        skip_bad=skip_bad,
        split_seed=split_seed,
    ).open()
