"""The tasks of a grid's runs; each data set is opened once."""

from __future__ import annotations

from collections.abc import Iterable

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.data import Dataset, Task, few_shot, load_dataset


class Tasks:
    """Data sets by name, and the tasks drawn from them."""

    def __init__(self) -> None:
        self._datasets: dict[tuple[str, str | None], Dataset] = {}

    def of(self, run: RunSpec) -> Task:
        """What a run adapts to."""
        key = (run.dataset, run.classnames)
        if key not in self._datasets:
            self._datasets[key] = load_dataset(run.dataset, classnames=run.classnames)
        return few_shot(self._datasets[key], run.shots, run.seed)

    def check(self, runs: Iterable[RunSpec]) -> None:
        """Draw every task, so that a missing image is noticed before the first query is paid.

        Raises:
            CraftZooError: it is.
        """
        for run in runs:
            self.of(run)
