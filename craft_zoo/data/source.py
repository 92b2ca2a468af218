"""How data sets are opened and few shots drawn, as one thing to hand on."""

from __future__ import annotations

from dataclasses import dataclass

from craft_zoo.data.registry import load_dataset
from craft_zoo.data.sampling import Fewer, Sampling, few_shot
from craft_zoo.data.task import Dataset, Task


@dataclass(frozen=True)
class DataSource:
    """Options of :func:`load_dataset` and :func:`few_shot`.

    Attributes:
        root: see :func:`load_dataset`, as for the two that follow.
        download: fetch what is missing.
        skip_bad: leave broken parts out.
        sampling: see :func:`few_shot`, as for the one that follows.
        fewer: what to do where a class has too few images.
    """

    root: str | None = None
    download: bool = False
    skip_bad: bool = False
    sampling: Sampling = "uniform"
    fewer: Fewer = "error"

    def open(self, name: str, classnames: str | None = None) -> Dataset:
        """A data set, see :func:`load_dataset`."""
        return load_dataset(
            name,
            classnames=classnames,
            root=self.root,
            download=self.download,
            skip_bad=self.skip_bad,
        )

    def draw(self, dataset: Dataset, shots: int, seed: int) -> Task:
        """A task, see :func:`few_shot`."""
        return few_shot(dataset, shots, seed, sampling=self.sampling, fewer=self.fewer)
