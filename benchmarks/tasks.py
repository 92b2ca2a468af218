"""Draws the few-shot tasks of a grid's runs."""

from __future__ import annotations

from collections.abc import Iterable

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.data import OpenedDatasets, Task
from craft_zoo.errors import CraftZooError


def task_of(run: RunSpec, datasets: OpenedDatasets) -> Task:
    """The task that a run adapts to.

    Raises:
        CraftZooError: the data set cannot be opened, or has too few images.
    """
    return run.dataset.draw(datasets.open(run.dataset), run.shots, run.seed)


def check_tasks(runs: Iterable[RunSpec], datasets: OpenedDatasets) -> None:
    """Draw all tasks, so that a missing image is reported before the first billed query.

    Raises:
        CraftZooError: a task cannot be drawn, or has no images to measure on.
    """
    for run in runs:
        task = task_of(run, datasets)
        if run.measured_on == "val" and task.val is None:
            raise CraftZooError(
                f"{task.name} has no validation images and no training images are left for "
                f"them: lower shots (--shots), or measure on the test images"
            )
        for name in run.transfer:
            datasets.open(run.dataset.other(name))
