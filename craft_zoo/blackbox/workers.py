"""Threads that share out independent pieces of work on a CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """A few threads, each of which computes on one core.

    A transformer layer is a chain of small operations. Spread over the cores one by one, each
    ends in waiting for the slowest core; whole pieces of work a core don't, and their results
    don't depend on how many cores there are. PyTorch gives up Python's lock while it computes.

    Args:
        threads: how many; by default as many as PyTorch uses.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or torch.get_num_threads()
        self._pool = ThreadPoolExecutor(
            self.threads, "craft-zoo", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items, which are taken only a little ahead of need."""
        items, waiting = iter(items), deque[Future[Result]]()
        of_this_thread = torch.get_num_threads()
        try:
            for item in islice(items, 2 * self.threads):
                waiting.append(self._pool.submit(function, item))
            while waiting:
                yield waiting.popleft().result()
                for item in islice(items, 1):
                    waiting.append(self._pool.submit(function, item))
        finally:
            for future in waiting:
                future.cancel()
            # A worker's own number is also what PyTorch gives to threads that start after it.
            torch.set_num_threads(of_this_thread)
