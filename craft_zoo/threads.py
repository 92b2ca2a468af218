"""Runs independent pieces of work in threads, with results in order."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache, partial
from itertools import islice
from typing import TypeVar

from threadpoolctl import threadpool_info

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    begin: Callable[[Item], Future[Result]],
    items: Iterable[Item],
    ahead: int,
    *,
    fail_fast: bool = False,
) -> Iterator[Result]:
    """Yield results in the order of the items, with at most ``ahead`` futures at a time.

    When the generator ends, by a failure or because it is closed, unfinished futures are cancelled.

    Args:
        begin: starts the work on an item.
        items: an item is drawn only when its work starts.
        ahead: maximum number of futures.
        fail_fast: raise a failure at once instead of after all earlier results, for work that is
            slow or billed.
    """
    items, waiting = iter(items), deque[Future[Result]]()
    try:
        waiting.extend(begin(item) for item in islice(items, ahead))
        while waiting:
            if fail_fast:
                _first(waiting)
            result = waiting[0].result()  # popped later, so that an interrupt cancels it
            waiting.popleft()
            yield result
            if not (fail_fast and any(map(_failed, waiting))):
                waiting.extend(begin(item) for item in islice(items, 1))
    finally:
        for future in waiting:
            future.cancel()


def _first(waiting: Collection[Future[Result]]) -> None:
    """Wait until the first future is done; raise the exception of another that fails earlier."""
    first, *_ = waiting
    # Listed before failures are looked for: what ends after that ends the wait.
    while first in (unfinished := [future for future in waiting if not future.done()]):
        for future in filter(_failed, waiting):
            future.result()
        wait(unfinished, return_when=FIRST_COMPLETED)


def _failed(future: Future[Result]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


def prefetched(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    *,
    stop: threading.Event | None = None,
) -> Iterator[Result]:
    """Results of a function in the order of its items, each computed in a daemon thread.

    The first failure is raised at once, and threads that are still blocked are abandoned. Unlike an
    executor's threads, they delay neither an interrupted program nor the interpreter's exit.

    Args:
        function: called with each item.
        items: consumed in the caller's thread, each item when its call begins.
        ahead: maximum number of concurrent calls.
        stop: set at a failure, of which other calls then learn; they are waited for, because what
            they do is billed.
    """
    running: set[Future[Result]] = set()

    def begin(item: Item) -> Future[Result]:
        future = _start(function, item)
        running.add(future)
        future.add_done_callback(running.discard)
        return future

    try:
        yield from in_order(begin, items, ahead, fail_fast=True)
    except Exception:
        if stop is not None:
            stop.set()
            wait(list(running))
        raise


def _start(function: Callable[[Item], Result], item: Item) -> Future[Result]:
    future: Future[Result] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = function(item)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="craft-zoo", daemon=True).start()
    return future


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int | None = None
) -> Iterator[Result]:
    """Yield results in the order of the items, from :func:`computing_threads` threads.

    Within each thread PyTorch uses one core, so that results do not depend on the number of threads
    and threads need not synchronize after each small operation. PyTorch and Pillow release Python's
    global interpreter lock while they compute.

    Args:
        function: called on each item.
        items: drawn only as far ``ahead`` as needed.
        ahead: maximum number of pending results; by default two per thread.
    """
    threads = computing_threads()
    pool = ThreadPoolExecutor(threads, "craft-zoo", initializer=compute_on, initargs=(1,))
    try:
        yield from in_order(lambda item: pool.submit(function, item), items, ahead or 2 * threads)
    finally:
        pool.shutdown(cancel_futures=True)
        # A worker's setting is also the default of threads that PyTorch starts later.
        compute_on(threads)


def computing_threads() -> int:
    """Number of threads that PyTorch computes on, or NumPy where PyTorch is not loaded."""
    if torch := sys.modules.get("torch"):
        return torch.get_num_threads()
    return max((library["num_threads"] for library in threadpool_info()), default=1)


def compute_on(threads: int) -> None:
    """Let PyTorch, if it is loaded, compute on this number of threads in the calling thread."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


@cache
def compute_on_one_after_forks() -> None:
    """From now on, processes that are forked from this one compute on one thread.

    The threads of GNU OpenMP do not survive a fork, and the child would wait for them for ever.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=partial(compute_on, 1))
