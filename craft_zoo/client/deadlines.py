"""A deadline for a whole HTTP exchange. httpx only limits each single wait for data.

A server that sends one byte a second, or repeats "102 Processing", never exceeds httpx's time-out.
Here, each wait is limited to the time left until the deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

    import httpcore

_PIECE = 2**16  # bytes sent between two checks of the deadline
_THREAD = threading.local()  # end: deadline of the thread's exchange, by the monotonic clock


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit the total time of this thread's network operations in the context, in seconds.

    Raises:
        TimeoutException: of httpx or httpx2, the deadline has passed.
    """
    _THREAD.end = time.monotonic() + seconds
    try:
        yield
    finally:
        _THREAD.end = None


def keep_deadlines(client: Any) -> None:
    """Make a client's connections, including those through proxies, obey :func:`deadline`.

    httpx has no parameter for httpcore's network backend, so the backend is replaced in httpx's
    private connection pools. Transports without a pool replace the network in tests.

    Args:
        client: of httpx, or of httpx2, OpenAI's client's successor of it with the same pools.
    """
    for transport in [client._transport, *client._mounts.values()]:
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend)


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    """Seconds that an operation may wait: its time-out or the time until the deadline.

    Args:
        timeout: its time-out.
        late: raised if the deadline has passed.
    """
    end = getattr(_THREAD, "end", None)
    if end is None:
        return timeout
    left = end - time.monotonic()
    if left <= 0:
        raise late("the time for the whole exchange is over")
    return left if timeout is None else min(timeout, left)


class _Backend:
    """An ``httpcore.NetworkBackend``, which opens connections."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner
        # httpx knows the exceptions of httpcore, httpx2 those of httpcore2.
        core = import_module(type(inner).__module__.partition(".")[0])
        self._late: type[Exception] = core.ReadTimeout

    def connect_tcp(self, *, timeout: float | None = None, **to: Any) -> _Stream:
        left = _left(timeout, self._late)
        return _Stream(self._inner.connect_tcp(timeout=left, **to), self._late)


class _Stream:
    """A connection, an ``httpcore.NetworkStream``, whose operations end at the deadline."""

    def __init__(self, inner: httpcore.NetworkStream, late: type[Exception]) -> None:
        self._inner, self._late = inner, late
        self.close, self.get_extra_info = inner.close, inner.get_extra_info

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, self._late))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            self._inner.write(buffer[start : start + _PIECE], _left(timeout, self._late))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> _Stream:
        left = _left(timeout, self._late)  # arguments have no names within a proxy's tunnel
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._late)
