"""Progress bars: queries, loss, accuracy and time left; of one run, or of a grid of runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from craft_zoo.console import open_console

if TYPE_CHECKING:
    from craft_zoo.benchmarks import Point, RunSpec


def query_progress(
    console: Console | None = None, *, transient: bool = False, disable: bool = False
) -> Progress:
    """A bar whose unit is the query; see :func:`add_bar` and :func:`show`.

    Args:
        console: where it is drawn; None: standard output.
        transient: whether it goes away at the end, and stays away where there is no terminal.
        disable: whether it is not drawn at all.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]} {task.fields[accuracy]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
        disable=disable,
    )


def show(
    progress: Progress, bar: TaskID, queries: int, loss: float, accuracy: float, of: str
) -> None:
    """Move a bar; a loss or an accuracy that is not known (NaN) is left out.

    Args:
        progress: as from :func:`query_progress`.
        bar: one of its bars.
        queries: made so far.
        loss: of the search.
        accuracy: in [0, 1].
        of: what the accuracy is called, which says on which images it is.
    """
    progress.update(
        bar,
        completed=queries,
        loss="" if math.isnan(loss) else f"loss {loss:.3f}",
        accuracy="" if math.isnan(accuracy) else f"{of} {accuracy:.1%}",
    )


def add_bar(progress: Progress, text: str, total: int) -> TaskID:
    """A new bar."""
    return progress.add_task(text, total=total, loss="", accuracy="")


class ReadingBar:
    """A bar for images that a model takes in; it goes away when they are through."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar: TaskID | None = None

    def __call__(self, done: int, total: int) -> None:
        """``done`` of ``total`` images are taken in."""
        if self._bar is None:
            self._bar = add_bar(self._progress, "images", total)
        self._progress.update(self._bar, completed=done, total=total)
        if done == total:
            self._progress.remove_task(self._bar)
            self._bar = None


class BenchBars:
    """Shows a grid on progress bars: one for all of it, and one for each run that is being made.

    Args:
        progress: as from :func:`query_progress`.
        runs: the grid.

    Attributes:
        reused: runs that were finished before.
    """

    def __init__(self, progress: Progress, runs: Collection[RunSpec]) -> None:
        from craft_zoo.benchmarks import name_datasets  # takes long, needed by this bar only

        self._progress = progress
        self._runs = len(runs)
        self._names = name_datasets(runs)
        self._grid = add_bar(progress, "", sum(run.budget for run in runs))
        self._reading: dict[RunSpec, ReadingBar] = {}
        self._bars: dict[RunSpec, TaskID] = {}
        self._made: dict[RunSpec, int] = {}  # queries, of runs that are being made
        self._done = self._failures = 0
        self.reused = 0
        self._show_grid()

    def reading(self, run: RunSpec, done: int, total: int) -> None:
        if run not in self._reading:
            self._reading[run] = ReadingBar(self._progress)
        self._reading[run](done, total)

    def started(self, run: RunSpec) -> None:
        self._remove(run)  # of a process that has died
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
        """What it will not ask any more is not left to do."""
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


def stopped(folder: Path) -> str:
    """What to say of a stopped grid of runs."""
    return f"Stopped. Finished work is in {folder}; rerun the same command to continue."


@contextmanager
def saying(progress: Progress, text: str) -> Iterator[None]:
    """When interrupted, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        progress.stop()
        open_console().print(text, soft_wrap=True)
        raise
