"""Progress bars: queries, loss, accuracy and time left."""

from __future__ import annotations

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def query_progress() -> Progress:
    """A bar whose unit is the query; give tasks the fields ``loss`` and ``accuracy`` as text."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]} {task.fields[accuracy]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )


def state(loss: float, accuracy: float, kind: str) -> dict[str, str]:
    """The fields of a bar, empty where a number is not known."""
    return {
        "loss": "" if loss != loss else f"loss {loss:.3f}",
        "accuracy": "" if accuracy != accuracy else f"{kind} {accuracy:.1%}",
    }
