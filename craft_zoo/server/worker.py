"""The one thread that the model computes in."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

# Where a call has little to do, its own cost is most of it: clients that were just answered are
# waited for, as long as a share of the last call.
_LITTLE = 16  # a share of the room, as 1 / this
_PATIENCE = 0.2

Run = Callable[[Sequence[Any]], Generator[None, None, Sequence[Any]]]
"""Gets the payloads of the jobs that it does and returns as many results. Wherever it yields on its
way, others may have a turn."""


def whole(function: Callable[[], Any]) -> Run:
    """What runs a function that cannot be interrupted."""

    def run(_: Sequence[Any]) -> Generator[None, None, Sequence[Any]]:
        yield from ()
        return [function()]

    return run


class StoppedError(Exception):
    """The worker ended before a job did."""


@dataclass(eq=False)
class Job:
    """Something for the worker to do.

    Attributes:
        account: whose turn it takes.
        kind: what it is, in a word.
        run: see :data:`Run`.
        payload: of this job.
        together: jobs of the same value other than None may be done in one call of ``run``.
        size: how much of a call's room it takes.
        is_brief: whether it may be done, or its next part, in the midst of a long one.
        future: gets the result.
    """

    account: str
    kind: str
    run: Run
    payload: Any = None
    together: Hashable = None
    size: int = 1
    is_brief: bool = False
    future: Future[Any] = field(default_factory=Future)


Observer = Callable[[str, int, int, float], None]
"""Told of a call: its kind, how many jobs and how much of size it did, in how many seconds."""


@dataclass(eq=False)
class _Task:
    """Jobs that are done in one call; one job until it is begun."""

    jobs: list[Job]
    steps: Generator[None, None, Sequence[Any]] | None = None
    seconds: float = 0.0

    @property
    def first(self) -> Job:
        return self.jobs[0]


class Worker:
    """Does one job after another; accounts take turns, each with its oldest job.

    A turn goes as far as the next place where the job may be interrupted. Jobs of all accounts that
    may be done together with one that is begun are done in the same call, as far as there is room.
    Where such a call fails, each is done alone, so that nobody is harmed by what another has asked.

    Args:
        room: the sizes of jobs that are done together sum up to no more.
        prepare: called first in the thread.
        observe: see :data:`Observer`.
    """

    def __init__(
        self,
        room: int,
        prepare: Callable[[], None] = lambda: None,
        observe: Observer = lambda *_: None,
    ) -> None:
        self._room, self._prepare, self._observe = room, prepare, observe
        self._changed = threading.Condition()
        self._queues: dict[str, deque[_Task]] = {}  # in the order of turns; none is empty
        self._ending = False
        self._last_seconds = 0.0  # of a call that others could have joined
        self._expected = 0  # jobs: what it did, and what waited at its end
        self._thread = threading.Thread(target=self._work, name="craft-zoo-model", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End at the next place where that is possible; what is not done by then fails with
        :class:`StoppedError`."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()
        for queue in self._queues.values():
            for task in queue:
                self._fail(task, StoppedError())
        self._queues = {}

    @property
    def waiting(self) -> int:
        """Jobs that are not done, beside those that are being done."""
        with self._changed:
            return sum(len(task.jobs) for queue in self._queues.values() for task in queue)

    def submit(self, job: Job) -> Future[Any]:
        """Have a job done.

        Raises:
            StoppedError: the worker does no more.
        """
        with self._changed:
            if self._ending:
                raise StoppedError
            self._queues.setdefault(job.account, deque()).append(_Task([job]))
            self._changed.notify_all()
        return job.future

    def interlude(self) -> None:
        """Give a brief job a turn; for use in the midst of a long one.

        Raises:
            StoppedError: the worker is to end.
        """
        if threading.current_thread() is not self._thread:
            return
        with self._changed:
            if self._ending:
                raise StoppedError
            task = self._take(lambda job: job.is_brief)
        if task:
            self._do(task)

    def _work(self) -> None:
        self._prepare()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queues or self._ending)
                self._wait_for_more()
                task = None if self._ending else self._take(lambda _: True)
            if task is None:
                return
            self._do(task)
            del task  # and what it holds

    def _wait_for_more(self) -> None:
        """Wait a little, where what comes next is little and more of its kind is expected."""
        first = next((queue[0] for queue in self._queues.values()), None)
        if first is None or first.steps is not None or first.first.together is None:
            return

        def is_enough() -> bool:
            alike = self._alike(first.first)
            size = sum(task.first.size for task in alike)
            return self._ending or len(alike) >= self._expected or size * _LITTLE >= self._room

        self._changed.wait_for(is_enough, _PATIENCE * self._last_seconds)

    def _alike(self, job: Job) -> list[_Task]:
        """What waits and may be done together with a job."""
        return [
            task
            for queue in self._queues.values()
            for task in queue
            if task.steps is None and task.first.together == job.together
        ]

    def _take(self, fits: Callable[[Job], bool]) -> _Task | None:
        """What comes next of what fits, with all that is done together with it."""
        nexts = (
            next((task for task in queue if fits(task.first)), None)
            for queue in self._queues.values()
        )
        taken = next((task for task in nexts if task is not None), None)
        if taken is None:
            return None
        account = taken.first.account
        self._queues[account].remove(taken)
        if taken.steps is None and taken.first.together is not None:
            self._join(taken)
        self._queues[account] = self._queues.pop(account)  # its next turn comes last
        self._queues = {name: queue for name, queue in self._queues.items() if queue}
        return taken

    def _join(self, task: _Task) -> None:
        """Add what may be done together with a task that is about to be begun."""
        room = self._room - task.first.size
        for other in self._alike(task.first):
            job = other.first
            if job.size <= room:
                self._queues[job.account].remove(other)
                task.jobs.append(job)
                room -= job.size

    def _do(self, task: _Task) -> None:
        """Go on with a task, as far as the next place where it may be interrupted."""
        if task.steps is None:
            task.jobs = [job for job in task.jobs if job.future.set_running_or_notify_cancel()]
            if not task.jobs:
                return
        began = time.perf_counter()
        try:
            if task.steps is None:
                task.steps = task.first.run([job.payload for job in task.jobs])
            next(task.steps)
        except StopIteration as end:
            task.seconds += time.perf_counter() - began
            self._note(task)
            if task.first.together is not None:
                with self._changed:
                    self._expected = len(task.jobs) + len(self._alike(task.first))
                self._last_seconds = task.seconds
            for job, result in zip(task.jobs, end.value, strict=True):
                job.future.set_result(result)
        except BaseException as error:
            task.seconds += time.perf_counter() - began
            self._note(task)
            if len(task.jobs) == 1:
                self._fail(task, error)
            else:
                self._part(task)
        else:
            task.seconds += time.perf_counter() - began
            with self._changed:
                self._queues.setdefault(task.first.account, deque()).appendleft(task)

    def _part(self, task: _Task) -> None:
        """Have each job of a task done alone, before anything else of its account."""
        with self._changed:
            for job in reversed(task.jobs):
                steps = job.run([job.payload])
                self._queues.setdefault(job.account, deque()).appendleft(_Task([job], steps))

    def _fail(self, task: _Task, error: BaseException) -> None:
        for job in task.jobs:
            if task.steps is not None or job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)

    def _note(self, task: _Task) -> None:
        # Before anybody is told, so that who was answered finds it counted.
        size = sum(job.size for job in task.jobs)
        self._observe(task.first.kind, len(task.jobs), size, task.seconds)
