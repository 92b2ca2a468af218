"""Evaluator, which calls a function directly or through an executor, and retries failed calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any

from craft_zoo.optimizers.errors import OptimizerError


class Failure:
    """The outcome of a call that raised an exception in all its tries."""

    def __init__(self, error: BaseException) -> None:
        self.text = f"{type(error).__name__}: {error}"


class Evaluator:
    """Calls of a function at numbered points.

    Args:
        executor: an object with the method ``submit`` of ``concurrent.futures``, or a function that
            makes one, which is called again if the executor dies; None calls the function here.
        retries: how often a call that raised an exception, or whose process died, is made again
            before it is a :class:`Failure`. None: the exception is raised.
    """

    def __init__(self, executor: Any, retries: int | None) -> None:
        if not (executor is None or hasattr(executor, "submit") or callable(executor)):
            raise OptimizerError(
                f"executor must have a method submit, or be a function that makes such an object, "
                f"not {executor!r:.100}"
            )
        self.executor = executor
        self.retries = retries
        self._made: Any = None  # by the function
        self._running: dict[int, Future[Any]] = {}
        self._failures: Counter[int] = Counter()
        self._alone: set[int] = set()  # were running when an executor died: one of them killed it

    def next(
        self,
        f: Callable[[Any], Any],
        numbers: Collection[int],
        point: Callable[[int], Any],
        timeout: float | None,
    ) -> tuple[int, Any] | None:
        """Number and outcome of a call that has ended; None if the time is over before.

        Args:
            f: the function.
            numbers: all points that are to be evaluated; those that are not yet are started.
            point: gives a point by its number.
            timeout: seconds to wait at most.
        """
        while self.executor is None:
            first = next(iter(numbers))
            try:
                return first, f(point(first))
            except Exception as error:
                if self._gave_up(first, error):
                    return first, Failure(error)
        while True:
            number = None
            try:
                for number in self._to_start(numbers):
                    self._running[number] = self._submit(f, point(number))
                if not any(each.done() for each in self._running.values()):
                    wait(self._running.values(), timeout, FIRST_COMPLETED)
                number = next((n for n, each in self._running.items() if each.done()), None)
                if number is None:
                    return None
                value = self._running[number].result()
                del self._running[number]
                return number, value
            except BrokenExecutor as error:
                number = self._after_death(number, error)
                if number is not None and self._gave_up(number, error):
                    return number, Failure(error)
            except Exception as error:
                if number is None or self._running.pop(number, None) is None:
                    raise  # of the executor itself
                if self._gave_up(number, error):
                    return number, Failure(error)

    def end(self, *, wait_for_all: bool, cancel: bool) -> Iterator[tuple[int, Any]]:
        """Number and value of the calls that are still running and succeed.

        Args:
            wait_for_all: whether those that are not done are waited for.
            cancel: whether those that have not begun are cancelled.
        """
        running, self._running = self._running, {}
        left = {n: each for n, each in running.items() if not (cancel and each.cancel())}
        if wait_for_all:
            wait(left.values())
        self._shut_down(wait_for_all=wait_for_all)
        for number, each in left.items():
            if each.done() and each.exception() is None:
                yield number, each.result()

    def _to_start(self, numbers: Collection[int]) -> list[int]:
        alone = [n for n in numbers if n in self._alone][:1]
        if alone and self._running:
            return []
        return [n for n in alone or numbers if n not in self._running]

    def _submit(self, f: Callable[[Any], Any], x: Any) -> Future[Any]:
        executor = self.executor
        if not hasattr(executor, "submit") or isinstance(executor, type):
            executor = self._made = self._made or executor()
        future: Future[Any] = executor.submit(f, x)
        return future

    def _after_death(self, number: int | None, error: BrokenExecutor) -> int | None:
        """Prepare another executor; the number of the call that was alone, if one was."""
        if self._made is None or self.retries is None:
            raise error
        wait(self._running.values())
        lost = {n for n, each in self._running.items() if each.exception() is not None}
        lost |= set() if number is None else {number}
        self._running = {n: each for n, each in self._running.items() if n not in lost}
        self._shut_down(wait_for_all=False)
        self._alone |= lost
        return lost.pop() if len(lost) == 1 else None

    def _shut_down(self, *, wait_for_all: bool) -> None:
        if self._made is not None:
            self._made.shutdown(wait=wait_for_all)
            self._made = None

    def _gave_up(self, number: int, error: Exception) -> bool:
        if self.retries is None:
            raise error
        self._failures[number] += 1
        return self._failures[number] > self.retries
