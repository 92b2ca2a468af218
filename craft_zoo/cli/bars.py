"""The progress bars of a grid of runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.progress import Progress, TaskID

from craft_zoo.benchmarks import Point, RunSpec, short_name
from craft_zoo.cli.progress import ReadingBar, add_bar, show


class BenchBars:
    """Shows a bench on progress bars: one for the grid, one for the run at hand."""

    def __init__(self, progress: Progress, n_runs: int) -> None:
        self._progress = progress
        self._grid = add_bar(progress, "runs", n_runs)
        self._reading = ReadingBar(progress)
        self._run: TaskID | None = None
        self.reused = 0  # runs that were finished before

    def reading(self, run: RunSpec, done: int, total: int) -> None:
        self._reading(done, total)

    def started(self, run: RunSpec) -> None:
        text = f"{short_name(run.dataset)} {run.label} {run.shots} shots, seed {run.seed}"
        self._run = add_bar(self._progress, text, run.budget)

    def measured(self, run: RunSpec, point: Point) -> None:
        if self._run is not None:
            show(self._progress, self._run, point.queries, point.loss, point.accuracy)

    def ended(self, run: RunSpec, point: Point, reason: str) -> None:
        self._progress.console.print(
            f"{short_name(run.dataset)} {run.label}, seed {run.seed}: ended after "
            f"{point.queries:,} of {run.budget:,} queries ({reason})",
            soft_wrap=True,
            markup=False,
        )

    def finished(self, run: RunSpec, points: Sequence[Point], *, resumed: bool) -> None:
        if self._run is not None:
            self._progress.remove_task(self._run)
            self._run = None
        self.reused += resumed
        self._progress.advance(self._grid)

    def failed(self, run: RunSpec, reason: str) -> None:
        if self._run is not None:
            self._progress.remove_task(self._run)
            self._run = None
        self._progress.console.print(
            f"{run.identity} failed: {reason}", soft_wrap=True, markup=False
        )
        self._progress.advance(self._grid)
