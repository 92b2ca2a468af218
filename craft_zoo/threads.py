"""Independent pieces of work, shared out to threads on a CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int | None = None
) -> Iterator[Result]:
    """Results in the order of the items, from as many threads as PyTorch uses.

    Each thread computes on one core, so that a result does not depend on how many there are, and
    none waits for another after each small operation. Python's lock is no hindrance where PyTorch
    or Pillow compute, as they give it up.

    Args:
        function: called on each item.
        items: taken only ``ahead`` of need.
        ahead: how many results may wait; by default two a thread.
    """
    threads = torch.get_num_threads()
    items, waiting = iter(items), deque[Future[Result]]()
    pool = ThreadPoolExecutor(
        threads, "craft-zoo", initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        for item in islice(items, ahead or 2 * threads):
            waiting.append(pool.submit(function, item))
        while waiting:
            yield waiting.popleft().result()
            for item in islice(items, 1):
                waiting.append(pool.submit(function, item))
    finally:
        pool.shutdown(cancel_futures=True)
        # A worker's own number is also what PyTorch gives to threads that start after it.
        torch.set_num_threads(threads)
