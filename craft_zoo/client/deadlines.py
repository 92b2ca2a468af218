"""A deadline for a whole HTTP exchange. httpx only limits each single wait for data.

A server that sends one byte a second, or repeats "102 Processing", never exceeds httpx's time-out.
Here, each wait is limited to the time left until the deadline.
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

_PIECE = 2**16  # bytes sent between two checks of the deadline


class _Ends(threading.local):
    """Deadline of this thread's exchange, in seconds of the monotonic clock; None: no deadline."""

    at: float | None = None


_ENDS = _Ends()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit the total time of this thread's network operations in the context, in seconds.

    Raises:
        httpx.TimeoutException: the deadline has passed.
    """
    _ENDS.at = time.monotonic() + seconds
    try:
        yield
    finally:
        _ENDS.at = None


def keep_deadlines(client: httpx.Client) -> None:
    """Make a client's connections, including those through proxies, obey :func:`deadline`.

    httpx has no parameter for httpcore's network backend, so the backend is replaced in httpx's
    private connection pools. Transports without a pool replace the network in tests.
    """
    for transport in [client._transport, *client._mounts.values()]:
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _backend(pool._network_backend)


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    """Seconds that an operation may wait: its time-out or the time until the deadline."""
    if _ENDS.at is None:
        return timeout
    left = _ENDS.at - time.monotonic()
    if left <= 0:
        raise late("the time for the whole exchange is over")
    return left if timeout is None else min(timeout, left)


def _backend(inner: httpcore.NetworkBackend) -> httpcore.NetworkBackend:
    import httpcore  # comes with httpx, which is an extra

    class Stream(httpcore.NetworkStream):
        """A connection whose operations end at the deadline."""

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
        """Opens connections whose operations end at the deadline."""

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
