"""Prefetching: order, failures and end of work that starts ahead of its use."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from craft_zoo.threads import in_order, prefetched


class Begun:
    """Futures that a test completes."""

    def __init__(self) -> None:
        self.futures: list[Future[int]] = []

    def __call__(self, item: int) -> Future[int]:
        self.futures.append(Future())
        return self.futures[-1]

    def results(self, *, fail_fast: bool = False) -> Iterator[int]:
        return in_order(self, range(100), 3, fail_fast=fail_fast)


@pytest.mark.parametrize("fail_fast", [True, False])
def test_results_wait_for_their_turn(fail_fast: bool) -> None:
    begun = Begun()
    results = begun.results(fail_fast=fail_fast)
    timer = threading.Timer(0.02, lambda: [begun.futures[at].set_result(at) for at in (2, 1, 0)])
    timer.start()
    assert next(results) == 0
    assert len(begun.futures) == 3
    assert next(results) == 1
    assert len(begun.futures) == 4


def test_a_failure_waits_for_its_turn_or_does_not() -> None:
    for fail_fast in (True, False):
        begun = Begun()
        results = begun.results(fail_fast=fail_fast)
        threading.Timer(0.02, lambda b=begun: b.futures[1].set_exception(KeyError("b"))).start()
        if not fail_fast:
            threading.Timer(0.04, lambda b=begun: b.futures[0].set_result(0)).start()
            assert next(results) == 0
        with pytest.raises(KeyError, match="b"):
            next(results)
        assert begun.futures[2].cancelled()


def test_after_a_failure_nothing_more_is_begun_and_what_is_done_still_comes() -> None:
    begun = Begun()
    results = begun.results(fail_fast=True)
    threading.Timer(0.02, lambda: begun.futures[0].set_result(0)).start()
    assert next(results) == 0
    begun.futures[2].set_exception(KeyError("c"))
    begun.futures[1].set_result(1)
    assert next(results) == 1
    with pytest.raises(KeyError, match="c"):
        next(results)
    assert len(begun.futures) == 3


class DoneOnceAsked(Future[int]):
    """Ends right after it was asked whether it has ended."""

    def done(self) -> bool:
        if done := super().done():
            return done
        self.set_result(0)
        return False


def test_a_result_that_comes_while_it_is_looked_for_waits_for_no_other() -> None:
    other: Future[int] = Future()
    timer = threading.Timer(5, other.set_result, (1,))
    timer.start()
    results = in_order(lambda future: future, [DoneOnceAsked(), other], 2, fail_fast=True)
    assert next(results) == 0
    assert not other.done()
    timer.cancel()


def interrupt(seconds: float) -> None:
    """Interrupt the main thread as Ctrl-C does, after ``seconds``."""
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGINT)).start()


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("fail_fast", [True, False])
def test_an_interruption_cancels_what_was_being_waited_for(fail_fast: bool) -> None:
    begun = Begun()
    interrupt(0.05)
    with pytest.raises(KeyboardInterrupt):
        next(begun.results(fail_fast=fail_fast))
    assert [future.cancelled() for future in begun.futures] == [True] * 3


@pytest.mark.usefixtures("interruptible")
def test_blocked_threads_hold_up_nobody() -> None:
    release, threads = threading.Event(), list[threading.Thread]()

    def work(number: int) -> int:
        threads.append(threading.current_thread())
        if number == 1:
            raise KeyError("mine")
        release.wait(60)
        return number

    began = time.monotonic()
    with pytest.raises(KeyError, match="mine"):
        list(prefetched(work, range(100), 3))
    interrupt(0.05)
    with pytest.raises(KeyboardInterrupt):
        list(prefetched(work, [0, 2], 3))
    assert time.monotonic() - began < 10
    assert all(thread.daemon for thread in threads)  # nor does the interpreter's end wait
    release.set()
    assert list(prefetched(work, range(2, 30), 4)) == list(range(2, 30))


def test_calls_that_cost_money_are_waited_for_after_a_failure() -> None:
    stop, done = threading.Event(), list[int]()

    def work(number: int) -> int:
        if number == 1:
            raise KeyError("mine")
        assert stop.wait(60)  # a retry would end here
        time.sleep(0.02)
        done.append(number)
        return number

    with pytest.raises(KeyError, match="mine"):
        list(prefetched(work, range(100), 3, stop=stop))
    assert sorted(done) == [0, 2]
