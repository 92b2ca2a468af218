"""Independent pieces of work, shared out to threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    begin: Callable[[Item], Future[Result]],
    items: Iterable[Item],
    ahead: int,
    *,
    fail_fast: bool = False,
) -> Iterator[Result]:
    """Results in the order of the items, of which no more than ``ahead`` are begun at once.

    What is begun and not done when it ends, by a failure or as nobody wants more, is cancelled.

    Args:
        begin: starts the work on an item.
        items: taken only as they are begun.
        ahead: how many.
        fail_fast: raise a failure at once, rather than when its turn comes: for work that may take
            long, or costs.
    """
    items, waiting = iter(items), deque[Future[Result]]()
    try:
        waiting.extend(begin(item) for item in islice(items, ahead))
        while waiting:
            if fail_fast:
                _first(waiting)
            result = waiting[0].result()  # interrupted here, it is still to be cancelled
            waiting.popleft()
            yield result
            if not (fail_fast and any(map(_failed, waiting))):
                waiting.extend(begin(item) for item in islice(items, 1))
    finally:
        for future in waiting:
            future.cancel()


def _first(waiting: Collection[Future[Result]]) -> None:
    """Wait until the first is done, or raise what another fails with before."""
    first, *_ = waiting
    while not first.done():
        for future in filter(_failed, waiting):
            future.result()
        wait([future for future in waiting if not future.done()], return_when=FIRST_COMPLETED)


def _failed(future: Future[Result]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int | None = None
) -> Iterator[Result]:
    """Results in the order of the items, from as many threads as PyTorch uses on a CPU.

    Each thread computes on one core, so that a result does not depend on how many there are, and
    none waits for another after each small operation. Python's lock is no hindrance where PyTorch
    or Pillow compute, as they give it up.

    Args:
        function: called on each item.
        items: taken only ``ahead`` of need.
        ahead: how many results may wait; by default two a thread.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        threads, "craft-zoo", initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        yield from in_order(lambda item: pool.submit(function, item), items, ahead or 2 * threads)
    finally:
        pool.shutdown(cancel_futures=True)
        # A worker's own number is also what PyTorch gives to threads that start after it.
        torch.set_num_threads(threads)
