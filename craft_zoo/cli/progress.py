"""Progress bars that show queries, loss, accuracy and remaining time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        TimeRemainingColumn(),
        console=console,
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
        accuracy="" if math.isnan(accuracy) else f"{of} {accuracy:.1%}",
    )


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


def stopped(folder: Path) -> str:
    """The message after an interrupted grid of runs."""
    return f"Stopped. What was done is in {folder}; the same command goes on."


@contextmanager
def saying(progress: Progress, text: str) -> Iterator[None]:
    """Print ``text`` on a keyboard interrupt, and raise it again."""
    try:
        yield
    except KeyboardInterrupt:
        progress.stop()
        open_console().print(text, soft_wrap=True)
        raise
