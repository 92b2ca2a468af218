"""Progress bars: queries, loss, accuracy and time left."""

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


def stopped(folder: Path) -> str:
    """What to say of a stopped grid of runs."""
    return f"Stopped. What was done is in {folder}; the same command goes on."


@contextmanager
def saying(progress: Progress, text: str) -> Iterator[None]:
    """When interrupted, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        progress.stop()
        open_console().print(text, soft_wrap=True)
        raise
