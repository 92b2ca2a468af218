"""Logging of measured points to TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.queue import Listener
from craft_zoo.benchmarks.store import Point
from craft_zoo.errors import needs_extra

_SCALARS = ("accuracy", "train_accuracy", "loss", "seconds")


class TensorBoard(Listener):
    """A listener that writes each run's points under ``folder/<identity>``; steps are queries.

    Args:
        folder: value for ``tensorboard --logdir``.

    Raises:
        CraftZooError: TensorBoard is not installed (extra ``tensorboard``).
    """

    def __init__(self, folder: Path) -> None:
        with needs_extra("tensorboard", "TensorBoard's log"):
            from torch.utils.tensorboard import SummaryWriter
        self._open: Any = SummaryWriter
        self._folder = folder
        self._writers: dict[RunSpec, Any] = {}

    def reading(self, run: RunSpec, done: int, total: int) -> None:
        """Ignored, as reading images adds no point to a curve."""

    def ended(self, run: RunSpec, point: Point, reason: str) -> None:
        """Ignored, as the run's last point was logged by ``measured``."""

    def refused(self, run: RunSpec, questions: int) -> None:
        """Ignored, as it is no measured point."""

    def started(self, run: RunSpec) -> None:
        """Open the run's log and purge old points, as a resumed run reports all points again."""
        self._close(run)
        self._writers[run] = self._open(str(self._folder / run.identity), purge_step=0)

    def measured(self, run: RunSpec, point: Point) -> None:
        for name in _SCALARS:
            value = getattr(point, name)
            if run in self._writers and not math.isnan(value):
                self._writers[run].add_scalar(name, value, point.queries)

    def finished(self, run: RunSpec, points: Sequence[Point], *, resumed: bool) -> None:
        self._close(run)

    def failed(self, run: RunSpec, reason: str) -> None:
        self._close(run)

    def _close(self, run: RunSpec) -> None:
        if run in self._writers:
            self._writers.pop(run).close()
