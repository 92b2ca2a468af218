"""Progress bars that show queries, loss, accuracy and remaining time of runs."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from craft_zoo.blackbox.usage import amount
from craft_zoo.console import open_console, say
from craft_zoo.counts import counted

if TYPE_CHECKING:
    from craft_zoo.benchmarks import Point, RunSpec
    from craft_zoo.blackbox import VLM, Journal
    from craft_zoo.craft import Step


class _TimeLeft(TimeRemainingColumn):
    """Time left: as :func:`show_end` says of a bar, or else by its speed in the last 30 s."""

    def render(self, task: Task) -> Text:
        if "end" not in task.fields:
            return super().render(task)
        left = task.fields["end"] - time.monotonic()
        known = "-:--:--" if math.isinf(left) else str(timedelta(seconds=max(0, math.ceil(left))))
        return Text(known, style="progress.remaining")


def query_progress(
    console: Console | None = None, *, transient: bool = False, disable: bool = False
) -> Progress:
    """A progress display that counts queries; see :func:`add_bar` and :func:`show`.

    Args:
        console: the console to draw on; None: standard output.
        transient: remove the bars at the end, and draw none without a terminal.
        disable: draw nothing.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]} {task.fields[accuracy]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        _TimeLeft(),
        console=console or open_console(),
        transient=transient,
        disable=disable,
    )


def show(
    progress: Progress, bar: TaskID, queries: int, loss: float, accuracy: float, of: str
) -> None:
    """Update a bar; a loss or accuracy of NaN is not shown.

    Args:
        progress: from :func:`query_progress`.
        bar: one of its bars.
        queries: number of queries so far.
        loss: loss of the search.
        accuracy: in [0, 1].
        of: label of the accuracy, which names the images it is measured on.
    """
    progress.update(
        bar,
        completed=queries,
        loss="" if math.isnan(loss) else f"loss {loss:.3f}",
        accuracy="" if math.isnan(accuracy) else f"{of} {100 * accuracy:.1f} %",
    )


def show_end(progress: Progress, bar: TaskID, seconds: float) -> None:
    """Set the time left, which then counts down; infinity: unknown."""
    progress.update(bar, end=time.monotonic() + seconds)


def add_bar(progress: Progress, text: str, total: int) -> TaskID:
    """Add a bar without loss and accuracy."""
    return progress.add_task(text, total=total, loss="", accuracy="")


class ReadingBar:
    """Progress callback: shows a bar while a model encodes images, and removes it at the end."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar: TaskID | None = None

    def __call__(self, done: int, total: int) -> None:
        """Update the bar: ``done`` of ``total`` images are encoded."""
        if self._bar is None:
            self._bar = add_bar(self._progress, "images", total)
        self._progress.update(self._bar, completed=done, total=total)
        if done == total:
            self._progress.remove_task(self._bar)
            self._bar = None


def _paid(llm_requests: int, cost: float) -> str:
    """End of a bar's description: requests to a language model, and what was paid so far."""
    requests = f", {counted(llm_requests, 'LLM request')}" if llm_requests else ""
    return requests if math.isnan(cost) or not cost else f"{requests}, {amount(cost)} paid"


class SearchBar:
    """Callback of :func:`craft_zoo.tune`: a progress bar of the queries.

    Args:
        progress: from :func:`query_progress`.
        name: name of the data set.
        most: maximum number of queries.
        journal: journal of the run; while it replays, no time left is shown.
        vlm: the model, whose price so far and requests to a language model are shown.
    """

    def __init__(
        self, progress: Progress, name: str, most: int, journal: Journal, vlm: VLM
    ) -> None:
        self._progress, self._name, self._most = progress, name, most
        self._journal, self._vlm = journal, vlm
        self._bar = add_bar(progress, name, most)
        self._began: tuple[float, int] | None = None  # time and queries of the first new step

    def __call__(self, step: Step) -> None:
        """Update the bar after a step of the search."""
        progress, bar, now = self._progress, self._bar, time.monotonic()
        show(progress, bar, step.queries, step.loss, step.train_accuracy, "training accuracy")
        if self._began is not None and step.queries > self._began[1]:
            pace = (now - self._began[0]) / (step.queries - self._began[1])
            show_end(progress, bar, (self._most - step.queries) * pace)
        elif not self._journal.replaying:
            self._began = now, step.queries
        billed, price = self._vlm.billed, self._vlm.cost_limit.price
        asked = getattr(self._vlm, "predictions", 0)  # a ReplayVLM counts them
        cost = math.nan if price is None else price.cost(replace(billed, predictions=asked))
        progress.update(bar, description=self._name + _paid(billed.llm_requests, cost))
        if step.ended:
            text = f"The search ended after {step.queries:,} queries: {step.ended}"
            say(progress.console, text)


class BenchBars:
    """Listener that shows a progress bar for the grid and one for each run in progress.

    Args:
        progress: from :func:`query_progress`.
        runs: the grid.

    Attributes:
        reused: runs that had finished before this call.
        refusals: number of questions that the model has refused to answer.
    """

    def __init__(self, progress: Progress, runs: Collection[RunSpec]) -> None:
        from craft_zoo.benchmarks import name_datasets  # slow to import; only this bar needs it

        self._progress = progress
        self._runs = len(runs)
        self._names = name_datasets(runs)
        self._grid = add_bar(progress, "", sum(run.budget for run in runs))
        self._reading: dict[RunSpec, ReadingBar] = {}
        self._bars: dict[RunSpec, TaskID] = {}
        self._made: dict[RunSpec, int] = {}  # queries of each run in progress
        self._waiting = Counter(map(self._kind, runs))  # runs that have not begun
        self._ends: dict[RunSpec, float] = {}  # when a run in progress ends, infinity: unknown
        self._took: dict[tuple[str, ...], dict[RunSpec, float]] = {}  # seconds, or as expected
        self._done = self._failures = 0
        self.reused: set[RunSpec] = set()
        self.refusals = 0
        self._show_grid()

    def reading(self, run: RunSpec, done: int, total: int) -> None:
        self._reading.setdefault(run, ReadingBar(self._progress))(done, total)

    def started(self, run: RunSpec) -> None:
        self._remove(run)  # the bar may remain from a process that died
        self._bars[run] = add_bar(self._progress, self._text(run), run.budget)
        if run not in self._ends:
            self._waiting[self._kind(run)] -= 1
        self._ends[run] = math.inf
        self._show_left(run)

    def measured(self, run: RunSpec, point: Point) -> None:
        if run in self._bars:
            accuracy = point.accuracy, f"{run.measured_on} accuracy"
            paid = _paid(point.llm_requests, point.cost + point.evaluation_cost)
            self._progress.update(self._bars[run], description=self._text(run) + paid)
            show(self._progress, self._bars[run], point.queries, point.loss, *accuracy)
        self._progress.advance(self._grid, point.queries - self._made.get(run, 0))
        self._made[run] = point.queries
        if point.queries:
            self._takes(run, point.seconds / point.queries * run.budget)
            self._ends[run] = time.monotonic() - point.seconds + self._took[self._kind(run)][run]
            self._show_left(run)

    def ended(self, run: RunSpec, point: Point, reason: str) -> None:
        say(
            self._progress.console,
            f"{self._names[run].name} {run.label}, seed {run.seed}: ended after "
            f"{point.queries:,} of {run.budget:,} queries ({reason})",
        )

    def refused(self, run: RunSpec, questions: int) -> None:
        self.refusals += questions

    def finished(self, run: RunSpec, points: Sequence[Point], *, resumed: bool) -> None:
        if resumed:
            self.reused.add(run)
        self._takes(run, points[-1].seconds)
        self._over(run)

    def failed(self, run: RunSpec, reason: str) -> None:
        self._failures += 1
        say(self._progress.console, f"{run.identity} failed: {reason}")
        self._over(run)

    def _text(self, run: RunSpec) -> str:
        shots = counted(run.shots, "shot")
        return f"{self._names[run].name} {run.label} {shots}, seed {run.seed}"

    def _over(self, run: RunSpec) -> None:
        """Subtract the queries that the ended run did not make from the grid's total."""
        self._remove(run)
        self._done += 1
        made = self._made.pop(run, 0)
        if self._ends.pop(run, None) is None:
            self._waiting[self._kind(run)] -= 1
        total = self._progress.tasks[self._progress.task_ids.index(self._grid)].total or 0
        self._progress.update(self._grid, total=total - run.budget + made)
        self._show_grid()
        self._show_left()

    def _kind(self, run: RunSpec) -> tuple[str, ...]:
        return run.label, self._names[run].name, str(run.shots)

    def _takes(self, run: RunSpec, seconds: float) -> None:
        kind = self._kind(run)
        for key in (kind, kind[:1]):
            self._took.setdefault(key, {})[run] = seconds

    def _show_left(self, run: RunSpec | None = None) -> None:
        """Show the time left of a run and of the grid.

        Runs that have not begun take as long as those of the same task and method, or else of the
        same method on other tasks.
        """
        now = time.monotonic()
        if run in self._bars:
            show_end(self._progress, self._bars[run], self._ends[run] - now)
        mean = {key: sum(took.values()) / len(took) for key, took in self._took.items()}
        left = sum(max(0.0, end - now) for end in self._ends.values())
        left += sum(
            count * mean.get(kind, mean.get(kind[:1], math.inf))
            for kind, count in self._waiting.items()
            if count
        )
        show_end(self._progress, self._grid, left / max(1, len(self._ends)))

    def _remove(self, run: RunSpec) -> None:
        if run in self._bars:
            self._progress.remove_task(self._bars.pop(run))

    def _show_grid(self) -> None:
        failures = f", {self._failures} failed" if self._failures else ""
        self._progress.update(
            self._grid, description=f"{self._done} of {self._runs} runs{failures}"
        )


def stopped(folder: Path) -> str:
    """The message after an interrupted grid of runs."""
    return f"Stopped. Finished work is in {folder}; rerun the same command to continue."


@contextmanager
def saying(text: str, console: Console | None = None) -> Iterator[None]:
    """Print ``text`` on a keyboard interrupt, and raise it again.

    Args:
        text: what to print, after the bars of a display within this context have ended.
        console: the console to print on; None: standard output.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(console or open_console(), text)
        raise
