"""Which runs of a grid are done, which failed, and which are left to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.store import Point, RunStore
from craft_zoo.errors import CraftZooError

LOOK_AGAIN = 0.5  # seconds, at what processes do that are not ours


class Listener(Protocol):
    """Who wants to know how a bench goes."""

    def reading(self, run: RunSpec, done: int, total: int) -> None:
        """The model takes in images for a run."""

    def started(self, run: RunSpec) -> None:
        """A run begins, or begins again where it was left."""

    def measured(self, run: RunSpec, point: Point) -> None:
        """A point was measured."""

    def ended(self, run: RunSpec, point: Point, reason: str) -> None:
        """A run is over before its budget is spent."""

    def finished(self, run: RunSpec, points: Sequence[Point], *, resumed: bool) -> None:
        """A run ended, or was found finished in the store."""

    def failed(self, run: RunSpec, reason: str) -> None:
        """A run came to no end; the others go on."""


class Listeners:
    """Several listeners as one."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*arguments: Any, **named: Any) -> None:
            for listener in self._listeners:
                getattr(listener, name)(*arguments, **named)

        return tell


class Outcome(NamedTuple):
    """How an attempt at a run ended: done, or neither busy nor done and for what reason."""

    done: bool = False
    busy: bool = False  # another process is at it
    reason: str = ""


class RunQueue:
    """The books of a grid; who runs it takes from :attr:`waiting` and settles each attempt.

    Args:
        store: where finished runs are looked up.
        runs: the grid.
        listener: told of runs that are finished or have failed.

    Attributes:
        waiting: runs to be done.
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
        """Enter how an attempt ended; one that another process is at comes up again."""
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
            CraftZooError: some have failed.
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
