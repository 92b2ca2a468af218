"""Slow connections are closed, and others are not affected."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.responses import Response

from craft_zoo.server.logs import log_to
from craft_zoo.server.uvicorn_server import Server

Listening = Callable[..., Any]
WaitFor = Callable[..., None]

LARGE = bytes(2**26)  # more than the machine's own buffers take
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def start(serve: Callable[..., Any], listening: Listening) -> Iterator[Callable[..., Server]]:
    """Starts a server with the given limits."""
    with ExitStack() as stack:

        def start(**limits: Any) -> Server:
            served = serve(limits=limits)
            served.client.__exit__(None, None, None)

            async def read_large() -> Response:
                return Response(LARGE)

            served.client.app.add_api_route("/large", read_large, include_in_schema=False)
            _, server = stack.enter_context(listening(served.client.app))
            return server

        yield start


class Raw(socket.socket):
    """A connection that sends raw bytes.

    Args:
        server: the server.
    """

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        self.settimeout(10)
        self.read = 0  # bytes of the last body
        self.connect(("127.0.0.1", server.config.port))

    def ask(self, request: bytes = HEALTH) -> bytes:
        """The first line of the response; a short body is read."""
        self.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (piece := self.recv(2**16)):
            answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        lengths = re.findall(rb"content-length: (\d+)", head.lower())
        while lengths and len(body) < int(lengths[0]) < 2**16:
            body += self.recv(2**16)
        self.read = len(body)
        return head.partition(b"\r\n")[0]

    def drip(self, content: bytes) -> None:
        """Send byte by byte."""
        for byte in content:
            self.send(bytes([byte]))
            time.sleep(0.02)

    def read_on(self, size: int) -> None:
        """The rest of a body of the given size."""
        while self.read < size:
            piece = self.recv(2**20)
            assert piece
            self.read += len(piece)

    def is_cut(self) -> bool:
        """Read to the end; whether the server has then closed the connection."""
        try:
            while self.recv(2**16):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True


def test_a_head_that_does_not_come_is_not_waited_for(start: Callable[..., Server]) -> None:
    server = start(header_seconds=0.3)
    began = time.monotonic()
    with Raw(server) as silent, Raw(server) as slow, Raw(server) as good:
        assert good.ask() == b"HTTP/1.1 200 OK"
        # Each byte comes in time, all of them do not.
        with pytest.raises(ConnectionError):
            slow.drip(HEALTH * 10)
        assert silent.is_cut()
        assert 0.2 < time.monotonic() - began < 5
        assert good.ask() == b"HTTP/1.1 200 OK"  # between two requests it may rest for longer


def test_what_follows_an_answered_request_is_not_read_for_ever(
    start: Callable[..., Server],
) -> None:
    server = start(header_seconds=0.3)
    head = b"POST /v1/classifiers HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with Raw(server) as raw:
        assert raw.ask(head) == b"HTTP/1.1 401 Unauthorized"
        with pytest.raises(ConnectionError):
            raw.drip(b"a" * 300)


def test_a_large_head_is_refused(start: Callable[..., Server]) -> None:
    with Raw(start()) as raw:
        try:
            answer = raw.ask(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 200_000)
        except ConnectionError:  # it was refused before all of it was sent
            answer = b"HTTP/1.1 400 Bad Request"
        assert answer == b"HTTP/1.1 400 Bad Request"


def test_of_too_many_connections_the_one_that_is_idle_for_longest_goes(
    start: Callable[..., Server],
) -> None:
    server = start(connections=3, answer_seconds=20)
    with ExitStack() as stack:
        busy = stack.enter_context(Raw(server))
        assert busy.ask(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n") == b"HTTP/1.1 200 OK"
        first, second, third = (stack.enter_context(Raw(server)) for _ in range(3))
        assert first.is_cut()
        assert second.ask() == third.ask() == b"HTTP/1.1 200 OK"
        fourth = stack.enter_context(Raw(server))
        assert fourth.ask() == b"HTTP/1.1 200 OK"
        assert second.is_cut()
        assert third.ask() == b"HTTP/1.1 200 OK"
        busy.read_on(len(LARGE))  # who is being answered is not cut
        assert len(server.server_state.connections) == 3


def test_who_does_not_take_an_answer_is_cut_and_who_does_is_not(
    start: Callable[..., Server], wait_for: WaitFor
) -> None:
    server = start(answer_seconds=0.4)
    head = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
    with Raw(server) as deaf, Raw(server) as good:
        deaf.sendall(head)
        for _ in range(3):  # the time is an answer's, not a connection's
            assert good.ask() == b"HTTP/1.1 200 OK"
            time.sleep(0.2)
        wait_for(lambda: len(server.server_state.connections) == 1)
        wait_for(lambda: not server.server_state.tasks)
        assert deaf.is_cut()
        assert good.ask() == b"HTTP/1.1 200 OK"
        assert good.ask(head) == b"HTTP/1.1 200 OK"
        good.read_on(len(LARGE))


def test_requests_that_come_at_once_are_all_answered(start: Callable[..., Server]) -> None:
    with Raw(start(header_seconds=0.3)) as raw:
        raw.sendall(HEALTH * 20)
        answers = b""
        while answers.count(b'{"status":"ok"}') < 20:
            piece = raw.recv(2**16)
            assert piece
            answers += piece


@pytest.fixture
def own_loggers() -> Iterator[None]:
    """Restores the loggers after the test."""
    names = ("craft_zoo.server", "uvicorn", "asyncio", "py.warnings")
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.handlers, each.propagate, each.level) for each in loggers]
    yield
    logging.captureWarnings(False)
    for each, (handlers, propagate, level) in zip(loggers, before, strict=True):
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


@pytest.mark.usefixtures("own_loggers")
def test_all_that_is_written_is_json() -> None:
    stream = io.StringIO()
    log_to(stream)
    try:
        raise OSError("too many open files")
    except OSError:
        logging.getLogger("asyncio").exception("socket.accept() out of system resource\n…")
    logging.getLogger("py.warnings").warning("%s", "a file is odd\n")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 2
    assert "too many open files" in lines[0]["error"]
    assert lines[-1]["message"] == "a file is odd"
