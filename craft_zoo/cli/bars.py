"""Progress bars of a grid of runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.progress import Progress, TaskID

from craft_zoo.benchmarks import Point, RunSpec, name_datasets
from craft_zoo.cli.progress import ReadingBar, add_bar, show


class BenchBars:
    """Listener that shows a progress bar for the grid and one for each run in progress.

    Args:
        progress: from :func:`query_progress`.
        runs: the grid.

    Attributes:
        reused: number of runs that had finished before this call.
    """

    def __init__(self, progress: Progress, runs: Collection[RunSpec]) -> None:
        self._progress = progress
        self._runs = len(runs)
        self._names = name_datasets(runs)
        self._grid = add_bar(progress, "", sum(run.budget for run in runs))
        self._reading: dict[RunSpec, ReadingBar] = {}
        self._bars: dict[RunSpec, TaskID] = {}
        self._made: dict[RunSpec, int] = {}  # queries of each run in progress
        self._done = self._failures = 0
        self.reused = 0
        self._show_grid()

    def reading(self, run: RunSpec, done: int, total: int) -> None:
        if run not in self._reading:
            self._reading[run] = ReadingBar(self._progress)
        self._reading[run](done, total)

    def started(self, run: RunSpec) -> None:
        self._remove(run)  # the bar may remain from a process that died
        text = f"{self._names[run].name} {run.label} {run.shots} shots, seed {run.seed}"
        self._bars[run] = add_bar(self._progress, text, run.budget)

    def measured(self, run: RunSpec, point: Point) -> None:
        if run in self._bars:
            accuracy = point.accuracy, f"{run.measured_on} accuracy"
            show(self._progress, self._bars[run], point.queries, point.loss, *accuracy)
        self._progress.advance(self._grid, point.queries - self._made.get(run, 0))
        self._made[run] = point.queries

    def ended(self, run: RunSpec, point: Point, reason: str) -> None:
        self._progress.console.print(
            f"{self._names[run].name} {run.label}, seed {run.seed}: ended after "
            f"{point.queries:,} of {run.budget:,} queries ({reason})",
            soft_wrap=True,
            markup=False,
        )

    def finished(self, run: RunSpec, points: Sequence[Point], *, resumed: bool) -> None:
        self.reused += resumed
        self._over(run)

    def failed(self, run: RunSpec, reason: str) -> None:
        self._failures += 1
        self._progress.console.print(
            f"{run.identity} failed: {reason}", soft_wrap=True, markup=False
        )
        self._over(run)

    def _over(self, run: RunSpec) -> None:
        """Subtract the queries that the ended run did not make from the grid's total."""
        self._remove(run)
        self._done += 1
        made = self._made.pop(run, 0)
        total = self._progress.tasks[self._progress.task_ids.index(self._grid)].total or 0
        self._progress.update(self._grid, total=total - run.budget + made)
        self._show_grid()

    def _remove(self, run: RunSpec) -> None:
        if run in self._bars:
            self._progress.remove_task(self._bars.pop(run))

    def _show_grid(self) -> None:
        failures = f", {self._failures} failed" if self._failures else ""
        self._progress.update(
            self._grid, description=f"{self._done} of {self._runs} runs{failures}"
        )
