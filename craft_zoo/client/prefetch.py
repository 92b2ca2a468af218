"""Work that waits for others rather than computes, begun a little ahead of need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from craft_zoo.threads import in_order

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetched(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Results in the order of the items, each from a thread that nobody needs to wait for.

    The first failure is raised at once. Threads that block then are left to themselves, and hold up
    neither an interrupted program nor the interpreter's end, as those of an executor do.

    Args:
        function: called on each item.
        items: taken, by the caller's thread, only as they are begun.
        ahead: how many are under way at once.
    """
    return in_order(lambda item: _begun(function, item), items, ahead, fail_fast=True)


def _begun(function: Callable[[Item], Result], item: Item) -> Future[Result]:
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
