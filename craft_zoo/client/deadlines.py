"""One deadline over a whole exchange, where httpx limits each wait for some bytes alone.

A server that sends a byte a second, or "102 Processing" again and again, never lets such a wait run
out. Here each wait is as long as what is left until the deadline, at most.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpcore
    import httpx

_PIECE = 2**16  # bytes that are sent between two looks at the clock


class _Ends(threading.local):
    """The moment at which this thread's exchange ends, on the monotonic clock; None: no limit."""

    at: float | None = None


_ENDS = _Ends()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let all that this thread waits for on the network inside take so many seconds together.

    Raises:
        httpx.TimeoutException: the time is over.
    """
    _ENDS.at = time.monotonic() + seconds
    try:
        yield
    finally:
        _ENDS.at = None


def keep_deadlines(client: httpx.Client) -> None:
    """Have the client's connections keep to :func:`deadline`, those by way of proxies too.

    httpx has no place for a network backend of httpcore's, so it is put where httpx keeps the pool
    of connections. A transport that has none stands in for the network in tests.
    """
    for transport in [client._transport, *client._mounts.values()]:
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _backend(pool._network_backend)


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    """Seconds that may be waited now."""
    if _ENDS.at is None:
        return timeout
    left = _ENDS.at - time.monotonic()
    if left <= 0:
        raise late("the time for the whole exchange is over")
    return left if timeout is None else min(timeout, left)


def _backend(inner: httpcore.NetworkBackend) -> httpcore.NetworkBackend:
    import httpcore  # comes with httpx, which is an extra

    class Stream(httpcore.NetworkStream):
        """A connection whose waits end at the deadline."""

        def __init__(self, stream: httpcore.NetworkStream) -> None:
            self._stream = stream

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            for start in range(0, len(buffer), _PIECE):
                left = _left(timeout, httpcore.WriteTimeout)
                self._stream.write(buffer[start : start + _PIECE], left)

        def close(self) -> None:
            self._stream.close()

        def start_tls(
            self,
            ssl_context: ssl.SSLContext,
            server_hostname: str | None = None,
            timeout: float | None = None,
        ) -> httpcore.NetworkStream:
            left = _left(timeout, httpcore.ConnectTimeout)
            return Stream(self._stream.start_tls(ssl_context, server_hostname, left))

        def get_extra_info(self, info: str) -> Any:
            return self._stream.get_extra_info(info)

    class Backend(httpcore.NetworkBackend):
        """Opens such connections."""

        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore.NetworkStream:
            left = _left(timeout, httpcore.ConnectTimeout)
            return Stream(inner.connect_tcp(host, port, left, local_address, socket_options))

        def connect_unix_socket(
            self,
            path: str,
            timeout: float | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore.NetworkStream:
            left = _left(timeout, httpcore.ConnectTimeout)
            return Stream(inner.connect_unix_socket(path, left, socket_options))

        def sleep(self, seconds: float) -> None:
            inner.sleep(seconds)

    return Backend()
