"""The tasks of a grid's runs; each data set is opened once."""

from __future__ import annotations

from collections.abc import Iterable

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.data import Dataset, DataSource, Task
from craft_zoo.errors import CraftZooError


class Tasks:
    """Data sets by name, and the tasks drawn from them."""

    def __init__(self) -> None:
        self._datasets: dict[tuple[str, str | None, DataSource], Dataset] = {}

    def of(self, run: RunSpec) -> Task:
        """What a run adapts to."""
        return run.source.draw(self.dataset(run.dataset, run), run.shots, run.seed)

    def dataset(self, name: str, run: RunSpec) -> Dataset:
        """A data set as a run opens it, its own or one that it is tried on."""
        key = (name, run.classnames if name == run.dataset else None, run.source)
        if key not in self._datasets:
            self._datasets[key] = run.source.open(*key[:2])
        return self._datasets[key]

    def check(self, runs: Iterable[RunSpec]) -> None:
        """Draw every task, so that a missing image is noticed before the first query is paid.

        Raises:
            CraftZooError: it is.
        """
        for run in runs:
            task = self.of(run)
            if run.measured_on == "val" and task.val is None:
                raise CraftZooError(
                    f"{task.name} has no validation images and no training images are left for "
                    f"them: lower shots (--shots), or measure on the test images"
                )
            for name in run.transfer:
                self.dataset(name, run)

    def skipped(self) -> dict[str, tuple[str, ...]]:
        """What was left out of each data set that has been opened."""
        return {dataset.name: dataset.skipped for dataset in self._datasets.values()}
