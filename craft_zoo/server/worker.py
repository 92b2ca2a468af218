"""The single thread in which the model computes, with batching and turns between accounts."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from craft_zoo.errors import UnavailableError

# Fixed costs dominate a small call, so before it the worker waits for the clients that it has just
# answered, up to a fraction of the last call's duration.
_SMALL_CALLS = 16  # a call is small if that many fit into ``room``
_PATIENCE = 0.2

Run = Callable[[Sequence[Any]], Generator[None, None, Sequence[Any]]]
"""Takes the payloads of a batch of jobs and returns one result for each. At each ``yield``, other
jobs may run."""


def whole(function: Callable[[], Any]) -> Run:
    """Turn a function into a :data:`Run` of one job without interruption."""

    def run(_: Sequence[Any]) -> Generator[None, None, Sequence[Any]]:
        yield from ()
        return [function()]

    return run


class StoppedError(Exception):
    """The worker stopped before the job was finished."""


@dataclass(eq=False)
class Job:
    """A job for the worker.

    Attributes:
        account: name of the account whose turn it uses.
        kind: label for metrics.
        batching_key: jobs with equal keys may share one call; None: never.
        size: size of the job, which counts towards the batch limit ``room``.
        room: maximum total size of a call that it begins; None: the worker's.
        is_brief: whether it, or its next step, may run during a long job.
    """

    account: str
    kind: str
    run: Run
    payload: Any = None
    batching_key: Hashable = None
    size: int = 1
    room: int | None = None
    is_brief: bool = False
    future: Future[Any] = field(default_factory=Future)


@dataclass(eq=False)
class _Task:
    """Jobs that share one call. It has a single job until the call begins."""

    jobs: list[Job]
    steps: Generator[None, None, Sequence[Any]] | None = None
    seconds: float = 0.0

    @property
    def first(self) -> Job:
        return self.jobs[0]


class Worker:
    """Runs one job at a time; accounts take turns, each with its oldest job.

    A turn ends where the job yields. When a job begins, jobs of all accounts with the same batching
    key join its call, up to ``room``. If such a call fails, each job is run again alone, so that
    one client's error does not affect another's, unless the model's service does not answer.

    Args:
        room: maximum total size of the jobs of one call.
        prepare: called first in the thread.
        observe: called after each call with its kind, number of jobs, their total size and seconds.
    """

    def __init__(
        self,
        room: int,
        prepare: Callable[[], None] = lambda: None,
        observe: Callable[[str, int, int, float], None] = lambda *_: None,
    ) -> None:
        self._room, self._prepare, self._observe = room, prepare, observe
        self._changed = threading.Condition()
        self._queues: dict[str, deque[_Task]] = {}  # in the order of turns; never an empty queue
        self._ending = False
        self._last_seconds = 0.0  # duration of the last call with a batching key
        self._expected = 0  # jobs of that call plus those with its key that waited at its end
        self._thread = threading.Thread(target=self._work, name="craft-zoo-model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop at the running job's next yield. Unfinished jobs fail with StoppedError."""
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
        """Number of jobs that are queued, including interrupted ones."""
        with self._changed:
            return sum(len(task.jobs) for queue in self._queues.values() for task in queue)

    def submit(self, job: Job) -> Future[Any]:
        """Queue a job.

        Raises:
            StoppedError: the worker is stopping.
        """
        with self._changed:
            if self._ending:
                raise StoppedError
            self._queues.setdefault(job.account, deque()).append(_Task([job]))
            self._changed.notify_all()
        return job.future

    def interlude(self) -> None:
        """Run a step of a brief job, if one is queued. Long jobs call it between their steps.

        Raises:
            StoppedError: the worker is stopping.
        """
        if threading.current_thread() is not self._thread:
            return
        with self._changed:
            if self._ending:
                raise StoppedError
            task = self._take(lambda job: job.is_brief)
        if task:
            self._run_step(task)

    def _work(self) -> None:
        self._prepare()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queues or self._ending)
                self._wait_for_more()
                task = None if self._ending else self._take(lambda _: True)
            if task is None:
                return
            self._run_step(task)
            del task  # frees its data while the thread waits

    def _wait_for_more(self) -> None:
        """Wait briefly before a small call if more jobs with its batching key are expected."""
        first = next((queue[0] for queue in self._queues.values()), None)
        if first is None or first.steps is not None or first.first.batching_key is None:
            return

        def is_enough() -> bool:
            alike = self._alike(first.first)
            size = sum(task.first.size for task in alike)
            return self._ending or len(alike) >= self._expected or size * _SMALL_CALLS >= self._room

        self._changed.wait_for(is_enough, _PATIENCE * self._last_seconds)

    def _alike(self, job: Job) -> list[_Task]:
        """Tasks that have not begun and may share a call with a job."""
        return [
            task
            for queue in self._queues.values()
            for task in queue
            if task.steps is None and task.first.batching_key == job.batching_key
        ]

    def _take(self, fits: Callable[[Job], bool]) -> _Task | None:
        """Dequeue the next task whose job fits, joined by those that may share its call."""
        nexts = (
            next((task for task in queue if fits(task.first)), None)
            for queue in self._queues.values()
        )
        taken = next((task for task in nexts if task is not None), None)
        if taken is None:
            return None
        account = taken.first.account
        self._queues[account].remove(taken)
        if taken.steps is None and taken.first.batching_key is not None:
            self._join(taken)
        self._queues[account] = self._queues.pop(account)  # its next turn comes last
        self._queues = {name: queue for name, queue in self._queues.items() if queue}
        return taken

    def _join(self, task: _Task) -> None:
        """Add the queued jobs that may share the call of a task that is about to begin."""
        room = min(self._room, task.first.room or self._room) - task.first.size
        for other in self._alike(task.first):
            job = other.first
            if job.size <= room:
                self._queues[job.account].remove(other)
                task.jobs.append(job)
                room -= job.size

    def _run_step(self, task: _Task) -> None:
        """Run a task up to its next yield."""
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
            self._observe_call(task, began)
            if task.first.batching_key is not None:
                with self._changed:
                    self._expected = len(task.jobs) + len(self._alike(task.first))
                self._last_seconds = task.seconds
            for job, result in zip(task.jobs, end.value, strict=True):
                job.future.set_result(result)
        except BaseException as error:
            self._observe_call(task, began)
            if len(task.jobs) == 1 or isinstance(error, UnavailableError):
                self._fail(task, error)
            else:
                self._split(task)
        else:
            task.seconds += time.perf_counter() - began
            with self._changed:
                self._queues.setdefault(task.first.account, deque()).appendleft(task)

    def _split(self, task: _Task) -> None:
        """Queue each job of a failed call alone, at the front of its account's queue."""
        with self._changed:
            for job in reversed(task.jobs):
                steps = job.run([job.payload])
                self._queues.setdefault(job.account, deque()).appendleft(_Task([job], steps))

    def _fail(self, task: _Task, error: BaseException) -> None:
        for job in task.jobs:
            if task.steps is not None or job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)

    def _observe_call(self, task: _Task, began: float) -> None:
        # Call this before resolving futures, so that answered requests are in the metrics.
        task.seconds += time.perf_counter() - began
        size = sum(job.size for job in task.jobs)
        self._observe(task.first.kind, len(task.jobs), size, task.seconds)
