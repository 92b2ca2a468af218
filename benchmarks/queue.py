"""Queue of a grid's runs, with their outcomes, and the interface of progress listeners."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.store import Point, RunStore
from craft_zoo.errors import CraftZooError

POLL_SECONDS = 0.5  # seconds between polls of runs that other processes are executing


class Listener(Protocol):
    """Callbacks that receive a bench's progress."""

    def reading(self, run: RunSpec, done: int, total: int) -> None:
        """The model has processed ``done`` of ``total`` images for a run."""

    def started(self, run: RunSpec) -> None:
        """A run has started or been resumed."""

    def measured(self, run: RunSpec, point: Point) -> None:
        """A point was measured."""

    def ended(self, run: RunSpec, point: Point, reason: str) -> None:
        """A run ended before spending its budget; ``finished`` follows."""

    def refused(self, run: RunSpec, questions: int) -> None:
        """The model has refused to answer some questions of an attempt at a run."""

    def finished(self, run: RunSpec, points: Sequence[Point], *, resumed: bool) -> None:
        """A run finished, or (``resumed``) was found finished in the store."""

    def failed(self, run: RunSpec, reason: str) -> None:
        """A run failed; the other runs continue."""


class Listeners:
    """A listener that forwards every callback to several listeners."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def __getattr__(self, name: str) -> Callable[..., None]:
        def forward(*arguments: Any, **named: Any) -> None:
            for listener in self._listeners:
                getattr(listener, name)(*arguments, **named)

        return forward


class Outcome(NamedTuple):
    """Result of an attempt to execute a run: done, busy, or failed (neither) with a reason."""

    done: bool = False
    busy: bool = False  # another process is executing the run
    reason: str = ""


class RunQueue:
    """Tracks a grid's runs: executors pop runs from :attr:`waiting` and :meth:`settle` each.

    Args:
        store: where finished runs are looked up.
        runs: the grid.
        listener: notified of finished and failed runs.

    Attributes:
        waiting: runs left to execute.
    """

    def __init__(self, store: RunStore, runs: Sequence[RunSpec], listener: Listener | None) -> None:
        self._store, self._runs, self._listener = store, runs, listener
        self._curves: dict[RunSpec, list[Point]] = {}
        self._failed: dict[RunSpec, str] = {}
        self.waiting: deque[RunSpec] = deque()
        for run in runs:
            if not self._look_up(run, resumed=True):
                self.waiting.append(run)

    def settle(self, run: RunSpec, outcome: Outcome) -> None:
        """Record the outcome of an attempt; a busy run is queued again."""
        if outcome.done:
            self._look_up(run, resumed=False)
        elif outcome.busy:
            self.waiting.append(run)
        else:
            self._failed[run] = outcome.reason
            if self._listener:
                self._listener.failed(run, outcome.reason)

    def curves(self) -> dict[RunSpec, list[Point]]:
        """The curve of every run, in the order of the grid.

        Raises:
            CraftZooError: at least one run failed.
        """
        if self._failed:
            run, reason = next(iter(self._failed.items()))
            if len(self._runs) == 1:
                raise CraftZooError(reason)
            raise CraftZooError(
                f"{len(self._failed)} of {len(self._runs)} runs failed, what is finished is kept; "
                f"{run.identity}: {reason}"
            )
        return {run: self._curves[run] for run in self._runs}

    def _look_up(self, run: RunSpec, *, resumed: bool) -> bool:
        points = self._store.load(run)
        if points is None:
            return False
        self._store.sweep(run)
        self._curves[run] = points
        if self._listener:
            self._listener.finished(run, points, resumed=resumed)
        return True
