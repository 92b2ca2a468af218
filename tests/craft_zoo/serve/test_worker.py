"""Turns, and jobs that are done together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from craft_zoo.serve.worker import Job, Worker


class Held:
    """A worker that begins when it is told to, and notes what it does.

    Args:
        room: see :class:`Worker`.
    """

    def __init__(self, room: int = 100) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.worker = Worker(room)
        self._begin = threading.Event()
        self.worker.start()
        self.worker.submit(Job("", "hold", lambda _: [self._begin.wait(5)]))

    def job(self, account: str, payload: Any, together: Any = None, size: int = 1) -> Job:
        job = Job(account, "test", self.run, payload, together, size)
        self.worker.submit(job)
        return job

    def run(self, payloads: Sequence[Any]) -> list[Any]:
        self.calls.append(tuple(payloads))
        if any(payload == "bad" for payload in payloads):
            raise ValueError("bad")
        return [f"{payload}!" for payload in payloads]

    def go(self) -> list[tuple[Any, ...]]:
        self._begin.set()
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


def test_a_job_larger_than_the_room_is_done_alone() -> None:
    held = Held(room=5)
    held.job("a", "large", "x", 9)
    held.job("b", "small", "x", 1)
    assert held.go() == [("large",), ("small",)]


def test_one_that_fails_harms_no_other() -> None:
    held = Held()
    good, bad, last = (held.job(name, name, "x") for name in ("good", "bad", "last"))
    assert held.go() == [("good", "bad", "last"), ("good",), ("bad",), ("last",)]
    assert (good.future.result(), last.future.result()) == ("good!", "last!")
    with pytest.raises(ValueError, match="bad"):
        bad.future.result()


def test_stopping_does_what_was_submitted_and_takes_nothing_more() -> None:
    held = Held()
    job = held.job("a", "a")
    held.go()
    assert job.future.result(0) == "a!"
    with pytest.raises(RuntimeError):
        held.worker.submit(Job("a", "late", held.run))


def test_others_may_ask_in_the_midst_of_a_long_job() -> None:
    held = Held()
    order: list[str] = []

    def note(text: str) -> Callable[[Any], list[str]]:
        return lambda payloads: [order.append(text) or text for _ in payloads]  # type: ignore[func-returns-value]

    def long(_: Any) -> list[str]:
        order.append("begins")
        held.worker.interlude()
        held.worker.interlude()
        order.append("ends")
        return ["long"]

    held.worker.submit(Job("a", "long", long))
    held.worker.submit(Job("b", "long", note("another long one")))
    held.worker.submit(Job("b", "quick", note("quick"), None, "x"))
    held.go()
    assert order == ["begins", "quick", "ends", "another long one"]
