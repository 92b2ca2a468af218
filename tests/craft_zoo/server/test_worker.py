"""The worker: order of jobs, and jobs that run together."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from craft_zoo.server.worker import (
    Job,
    StoppedError,
    Worker,
    whole,
)


class Held:
    """A worker that starts when a test says so, and records its jobs.

    Args:
        room: see :class:`Worker`.
    """

    def __init__(self, room: int = 100) -> None:
        self.calls: list[Any] = []
        self.worker = Worker(room)
        self._begin = threading.Event()
        self._jobs: list[Job] = []
        self.worker.start()
        self.worker.submit(Job("", "hold", whole(lambda: self._begin.wait(5))))

    def job(
        self, account: str, payload: Any, together: Any = None, size: int = 1, **options: Any
    ) -> Job:
        job = Job(account, "test", self.run, payload, together, size, **options)
        self.worker.submit(job)
        self._jobs.append(job)
        return job

    def run(self, payloads: Sequence[Any]) -> Generator[None, None, Sequence[Any]]:
        """Do a job (name, n) in n parts."""
        if isinstance(payloads[0], tuple):
            name, parts = payloads[0]
            for part in range(parts - 1):
                self.calls.append(f"{name}.{part}")
                yield
        self.calls.append(tuple(payloads))
        if any(payload == "bad" for payload in payloads):
            raise ValueError("bad")
        return [f"{payload}!" for payload in payloads]

    def go(self) -> list[Any]:
        self._begin.set()
        for job in self._jobs:
            job.future.exception(5)
        self.worker.stop()
        return self.calls


def test_accounts_take_turns() -> None:
    held = Held()
    for payload in ("a1", "a2", "a3", "a4"):
        held.job("a", payload)
    for payload in ("b1", "b2"):
        held.job("b", payload)
    held.job("c", "c1")
    order = [payload for (payload,) in held.go()]
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_others_have_their_turn_between_the_parts_of_a_job() -> None:
    held = Held()
    long = held.job("a", ("a1", 4))
    held.job("a", "a2")
    held.job("b", ("b1", 2))
    held.job("c", "c1")
    assert held.go() == [
        "a1.0",
        "b1.0",
        ("c1",),
        "a1.1",
        (("b1", 2),),
        "a1.2",
        (("a1", 4),),
        ("a2",),
    ]
    assert long.future.result() == "('a1', 4)!"


def test_jobs_that_fit_are_done_together_across_accounts_up_to_the_room() -> None:
    held = Held(room=5)
    jobs = [
        held.job("a", "a1", "x", 2),
        held.job("a", "other", "y", 1),
        held.job("a", "a2", "x", 2),
        held.job("b", "b1", "x", 2),
        held.job("c", "c1", "x", 1),
        held.job("c", "alone"),
    ]
    assert held.go() == [("a1", "a2", "c1"), ("b1",), ("alone",), ("other",)]
    assert [job.future.result() for job in jobs] == [f"{job.payload}!" for job in jobs]


def test_what_is_begun_is_not_joined() -> None:
    held = Held()
    held.job("a", ("a1", 3), "x")
    held.job("b", ("b1", 1), "y")
    held.job("b", ("b2", 1), "x")
    assert held.go()[0] == "a1.0"
    assert held.calls.count((("a1", 3), ("b2", 1))) == 1  # joined when it was begun
    assert len(held.calls) == 4


def test_little_waits_for_those_that_were_answered_just_now() -> None:
    held = Held()
    jobs = [held.job(account, f"{account}1", "x") for account in ("a", "b")]
    held._begin.set()
    for job in jobs:
        job.future.result(5)
    assert held.worker._expected == 2
    held.worker._last_seconds = 50.0  # so that it is waited for more than this test takes
    held.job("a", "a2", "x")
    held.job("b", "b2", "x")
    assert held.go()[1:] == [("a2", "b2")]


@pytest.mark.parametrize(("size", "together"), [(7, "x"), (1, None)])
def test_what_gains_nothing_by_it_does_not_wait(size: int, together: str | None) -> None:
    held = Held()
    held.worker._last_seconds, held.worker._expected = 50.0, 2
    held.job("a", "a", together, size)
    assert held.go() == [("a",)]


def test_who_does_not_come_is_waited_for_once() -> None:
    held = Held()
    held.worker._last_seconds, held.worker._expected = 0.1, 2
    held.job("a", "a", "x")
    assert held.go() == [("a",)]
    assert held.worker._expected == 1


def test_a_job_larger_than_the_room_is_done_alone() -> None:
    held = Held(room=5)
    held.job("a", "large", "x", 9)
    held.job("b", "small", "x", 1)
    assert held.go() == [("large",), ("small",)]


def test_one_that_fails_harms_no_other() -> None:
    held = Held()
    good, bad, last = (held.job(name, name, "x") for name in ("good", "bad", "last"))
    calls = held.go()
    assert calls[0] == ("good", "bad", "last")
    assert sorted(calls[1:]) == [("bad",), ("good",), ("last",)]
    assert (good.future.result(), last.future.result()) == ("good!", "last!")
    with pytest.raises(ValueError, match="bad"):
        bad.future.result()


def test_stopping_leaves_undone_what_is_not_begun_and_ends_between_parts() -> None:
    held = Held()
    begun, waiting = held.job("a", ("a", 10**6)), held.job("b", "b", "x")
    cancelled = held.job("c", "c")
    cancelled.future.cancel()
    held.worker.submit(Job("a", "more", held.run, "more"))
    held._begin.set()
    while not held.calls:
        pass
    held.worker.stop()
    with pytest.raises(StoppedError):
        begun.future.result(0)
    assert waiting.future.done()
    assert len(held.calls) < 10**6
    with pytest.raises(StoppedError):
        held.worker.submit(Job("a", "late", held.run))


def test_brief_jobs_have_a_turn_in_the_midst_of_a_long_one() -> None:
    held = Held()

    def long() -> str:
        held.calls.append("begins")
        for _ in range(3):
            held.worker.interlude()
        held.calls.append("ends")
        return "long"

    job = Job("a", "long", whole(long))
    held.worker.submit(job)
    held.job("b", "another long one")
    held.job("b", ("quick", 2), is_brief=True)
    assert held.go() == ["begins", "quick.0", (("quick", 2),), "ends", ("another long one",)]
    assert job.future.result() == "long"


def test_a_long_job_is_left_when_the_worker_ends() -> None:
    held, begun = Held(), threading.Event()

    def long() -> None:
        begun.set()
        while True:
            held.worker.interlude()

    job = Job("a", "long", whole(long))
    held.worker.submit(job)
    held._begin.set()
    assert begun.wait(5)
    held.worker.stop()
    with pytest.raises(StoppedError):
        job.future.result(0)
