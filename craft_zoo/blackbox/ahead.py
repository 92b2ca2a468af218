"""Work that waits for others, begun a little ahead of need."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    begin: Callable[[Item], Future[Result]], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Results in the order of the items, of which no more than ``ahead`` are under way at once.

    Args:
        begin: starts the work on an item.
        items: taken only as they are begun.
        ahead: how many.
    """
    items, waiting = iter(items), deque[Future[Result]]()
    try:
        waiting.extend(begin(item) for item in islice(items, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(begin(item) for item in islice(items, 1))
    finally:
        for future in waiting:
            future.cancel()
