"""HTTP connections with timeouts against slow clients."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from craft_zoo.server.limits import Limits


class Connection(H11Protocol):
    """A uvicorn connection that is aborted when the client is too slow.

    uvicorn itself sets no time limit on the headers of a request or on the client's reading of a
    response.

    Attributes:
        limits: ``connections``, ``header_seconds`` and ``answer_seconds`` are used; see
            :func:`connections_with`.
    """

    limits = Limits()
    _heading: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None
    _since = 0.0

    @property
    def _is_idle(self) -> bool:
        """Whether no request is in progress."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See uvicorn."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._await_head()
        if len(self.connections) > self.limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """See uvicorn."""
        self._stop_heading()
        self._stop_sending()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See uvicorn."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._begin()
        # Data after an answered request that starts no new one may be the rest of its body.
        if self._is_idle:
            self._await_head()

    def on_response_complete(self) -> None:
        """See uvicorn."""
        self._since = self.loop.time()
        before = self.cycle
        super().on_response_complete()
        if not self.flow.write_paused:
            self._stop_sending()
        self._watch_sending()
        if self.cycle is not before:  # the client had pipelined the next request
            self._begin()

    def pause_writing(self) -> None:
        """See uvicorn."""
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        """See uvicorn."""
        super().resume_writing()
        if self._is_idle:
            self._stop_sending()

    def timeout_keep_alive_handler(self) -> None:
        """See uvicorn."""
        if self._unsent:
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    @property
    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _begin(self) -> None:
        """Stop the header timeout: the headers of a request are complete."""
        self._stop_heading()
        if not self.flow.write_paused:
            self._stop_sending()

    def _await_head(self) -> None:
        if self._heading is None and not self.transport.is_closing():
            self._heading = self.loop.call_later(self.limits.header_seconds, self.transport.abort)

    def _stop_heading(self) -> None:
        if self._heading is not None:
            self._heading.cancel()
            self._heading = None

    def _watch_sending(self) -> None:
        """Limit the time to send all buffered data, counted from when data first had to wait."""
        if self._sending is None and self._unsent:
            self._sending = self.loop.call_later(self.limits.answer_seconds, self._give_up)

    def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _give_up(self) -> None:
        self._sending = None
        if self._unsent:
            self.transport.abort()

    def _make_room(self) -> None:
        """Abort the connection that has been idle for longest, which may be this one."""
        idle = [
            each
            for each in self.connections
            if isinstance(each, Connection) and each._is_idle and not each._unsent
        ]
        min(idle, key=lambda each: each._since).transport.abort()


def connections_with(limits: Limits) -> type[Connection]:
    """A subclass with these limits. uvicorn takes a class and makes the connections itself."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
