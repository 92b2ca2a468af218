"""Base class of the optimizers that scipy provides, and the thread in which one runs."""

from __future__ import annotations

import os
import threading
import weakref
from abc import abstractmethod
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.bounded import Bounded
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.option import check_above_zero
from craft_zoo.optimizers.space import Space

Loss = Callable[[np.ndarray], float]


class Scipy(Bounded):
    """A local search of scipy (Virtanen et al. 2020), one candidate a generation.

    scipy calls the function that it minimises, so it runs in a thread that waits there for each
    loss. The thread ends with the optimizer. It is no part of the optimizer's state: in a copy, or
    after a fork, a new thread is told the losses again.

    Args:
        sigma: length of the first steps, and standard deviation of the points of restarts.
        restarts: when it has converged before the budget is spent, start again from a random point.
    """

    def __init__(
        self, space: Space | int, *, sigma: float = 1.0, restarts: bool = True, **common: Any
    ) -> None:
        super().__init__(space, **common)
        check_above_zero(self.name, sigma=sigma)
        self.sigma, self.restarts = sigma, restarts
        self._start = np.zeros(self.dim)
        self._run_losses: list[float] = []  # since the last restart
        self._thread: Routine | None = None

    @abstractmethod
    def _routine(self) -> Callable[[Loss], Any]:
        """A call of scipy that minimises its argument from :attr:`_start`.

        The function must hold no reference to the optimizer.
        """

    def _ask(self) -> np.ndarray:
        while (point := self._next()) is None:
            self._start = self._inside(self.sigma * self.rng.standard_normal(self.dim))
            self._run_losses, self._thread = [], None
        return point[None]

    def _next(self) -> np.ndarray | None:
        """The next point of this run; None if it has converged."""
        if self._thread is None or self._thread.process != os.getpid():
            self._thread = Routine(self._routine(), self._bound)
        thread = self._thread
        while (point := thread.point()) is not None and thread.told < len(self._run_losses):
            thread.tell(self._run_losses[thread.told])
        if not thread.told and thread.error is not None:
            raise OptimizerError(f"{self._who} cannot search {self.dim} variables: {thread.error}")
        return point

    def _stop(self) -> str | None:
        converged = not self.restarts and self._run_losses and self._next() is None
        return "scipy's search has converged" if converged else None

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        self._run_losses.append(float(losses[0]))

    def recommend(self) -> np.ndarray:
        """The best candidate so far."""
        return self.best.point

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_thread": None}


class _Abandoned(BaseException):
    """Ends the routine of an optimizer that is no longer used."""


class Routine:
    """A routine that calls a function, turned into one that asks for losses; runs in a thread.

    Args:
        routine: called with the function.
        bound: points are clipped to [-bound, bound]; None: they are not.

    Attributes:
        process: the process in which the thread runs.
        told: number of losses told.
        error: what the routine raised, once it has ended.
    """

    def __init__(self, routine: Callable[[Loss], Any], bound: float | None) -> None:
        self.process, self.told = os.getpid(), 0
        self.error: BaseException | None = None
        self._losses: SimpleQueue[float | None] = SimpleQueue()
        self._points: SimpleQueue[np.ndarray | BaseException] = SimpleQueue()
        self._point: np.ndarray | None = None
        weakref.finalize(self, self._losses.put, None)
        given = routine, bound, self._points, self._losses
        threading.Thread(target=_run, args=given, daemon=True, name="optimizer").start()

    def point(self) -> np.ndarray | None:
        """(d,) the point whose loss is awaited; None when the routine has ended."""
        if self._point is None and self.error is None:
            answer = self._points.get()
            if isinstance(answer, np.ndarray):
                self._point = answer
            else:
                self.error = answer
        return self._point

    def tell(self, loss: float) -> None:
        """Tell the loss of the point."""
        self._point = None
        self.told += 1
        self._losses.put(loss)


def _run(
    routine: Callable[[Loss], Any], bound: float | None, points: SimpleQueue, losses: SimpleQueue
) -> None:
    def evaluate(x: np.ndarray) -> float:
        if not np.isfinite(x).all():
            raise OverflowError("its steps have no limit")
        points.put(np.array(x) if bound is None else x.clip(-bound, bound))
        loss = losses.get()
        if loss is None:
            raise _Abandoned
        return loss

    try:
        with np.errstate(all="ignore"):
            routine(evaluate)
    except _Abandoned:
        return
    except Exception as error:
        points.put(error)
    else:
        points.put(StopIteration("it has converged"))
