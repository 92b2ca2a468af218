"""An httpx client shared by all threads of a process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


class _Shared:
    """A client and the number of requests that currently use it."""

    def __init__(self, client: httpx.Client) -> None:
        self.client, self.users, self.retired = client, 0, False


class SharedClient:
    """One client for all threads, created when first needed.

    Args:
        make: creates a client; its exceptions propagate from :meth:`client`.
    """

    def __init__(self, make: Callable[[], httpx.Client]) -> None:
        self._make = make
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._shared: _Shared | None = None
        self._process = os.getpid()  # set last, because another thread may read it meanwhile

    def _mine(self) -> threading.Lock:
        """The lock of this process.

        After a fork, the state is reset: connections must not be shared with the parent, and the
        lock may be held by a thread that does not exist in the child.
        """
        if self._process != os.getpid():
            self._begin()
        return self._lock

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Borrow the client for one request."""
        with self._mine():
            if self._shared is None:
                self._shared = _Shared(self._make())
            mine = self._shared
            mine.users += 1
        try:
            yield mine.client
        finally:
            with self._lock:
                mine.users -= 1
                unused = mine.retired and not mine.users
            if unused:
                mine.client.close()

    def retire(self) -> None:
        """Use a new client from now on. The old one is closed once no request uses it."""
        with self._mine():
            mine, self._shared = self._shared, None
            if mine is not None:
                mine.retired = True
            unused = mine is not None and not mine.users
        if mine is not None and unused:
            mine.client.close()
