"""Runs requests ahead of their use, in daemon threads."""

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
    """Results of a function in the order of its items, each computed in a daemon thread.

    The first failure is raised at once, and threads that are still blocked are abandoned. Unlike an
    executor's threads, they delay neither an interrupted program nor the interpreter's exit.

    Args:
        function: called with each item.
        items: consumed in the caller's thread, each item when its call begins.
        ahead: maximum number of concurrent calls.
    """
    return in_order(lambda item: _start(function, item), items, ahead, fail_fast=True)


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
