"""The one thread that the model computes in."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

Run = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(eq=False)
class Job:
    """Something for the worker to do.

    Attributes:
        account: whose turn it takes.
        kind: what it is, in a word.
        run: gets the payloads of the jobs that it does, and returns as many results.
        payload: of this job.
        together: jobs of the same value other than None may be done in one call of ``run``.
        size: how much of a call's room it takes.
        future: gets the result.
    """

    account: str
    kind: str
    run: Run
    payload: Any = None
    together: Hashable = None
    size: int = 1
    future: Future[Any] = field(default_factory=Future)


Observer = Callable[[str, int, int, float], None]
"""Told of a call: its kind, how many jobs and how much of size it did, in how many seconds."""


class Worker:
    """Does one job after another; accounts take turns, each with its oldest job.

    Jobs of all accounts that may be done together with the one whose turn it is are done in the
    same call, as far as there is room. Where such a call fails, each is done alone, so that nobody
    is harmed by what another has asked.

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
        self._queues: dict[str, deque[Job]] = {}  # in the order of turns; none is empty
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="craft-zoo-model", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Do what was submitted, then end."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Jobs that are not begun."""
        with self._changed:
            return sum(len(queue) for queue in self._queues.values())

    def submit(self, job: Job) -> Future[Any]:
        """Have a job done."""
        with self._changed:
            if self._ending:
                raise RuntimeError("the worker has been stopped")
            self._queues.setdefault(job.account, deque()).append(job)
            self._changed.notify_all()
        return job.future

    def interlude(self) -> None:
        """Do one turn of jobs that may be done together; for use in the midst of a long job."""
        if threading.current_thread() is self._thread:
            with self._changed:
                jobs = self._take(lambda job: job.together is not None)
            if jobs:
                self._do(jobs)

    def _work(self) -> None:
        self._prepare()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queues or self._ending)
                jobs = self._take(lambda _: True)
            if not jobs:
                return
            self._do(jobs)
            del jobs  # and what they hold

    def _take(self, fits: Callable[[Job], bool]) -> list[Job]:
        """The next job that fits, with those that are done together with it."""
        heads = (next(filter(fits, queue), None) for queue in self._queues.values())
        first = next((job for job in heads if job is not None), None)
        if first is None:
            return []
        jobs, room = [first], self._room - first.size
        for queue in self._queues.values() if first.together is not None else ():
            for job in queue:
                if job is not first and job.together == first.together and job.size <= room:
                    jobs.append(job)
                    room -= job.size
        for job in jobs:
            self._queues[job.account].remove(job)
        self._queues[first.account] = self._queues.pop(first.account)  # its next turn comes last
        self._queues = {name: queue for name, queue in self._queues.items() if queue}
        return jobs

    def _do(self, jobs: list[Job]) -> None:
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return
        if not self._call(jobs):
            for job in jobs:
                self._call([job])

    def _call(self, jobs: list[Job]) -> bool:
        """Do jobs in one call; whether they have an outcome."""
        began = time.perf_counter()
        try:
            results, error = jobs[0].run([job.payload for job in jobs]), None
        except BaseException as raised:
            results, error = [], raised
        # Before anybody is told, so that who was answered finds it counted.
        size = sum(job.size for job in jobs)
        self._observe(jobs[0].kind, len(jobs), size, time.perf_counter() - began)
        if error is None:
            for job, result in zip(jobs, results, strict=True):
                job.future.set_result(result)
        elif len(jobs) == 1:
            jobs[0].future.set_exception(error)
        return error is None or len(jobs) == 1
