"""Fixtures for clients: a server of the protocol, retries without sleeping, a faulty network."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from craft_zoo.client import RemoteVLM, Retrying
from craft_zoo.openclip import OpenCLIP

_HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def vlm(tiny_vlm: OpenCLIP) -> OpenCLIP:
    return tiny_vlm


class Time:
    """A clock that advances only by ``sleep``."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def retrying(self, **settings: Any) -> Retrying:
        settings = {"draw": lambda: 0.5, **settings}
        return Retrying(sleep=self.sleep, clock=lambda: self.now, **settings)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(scope="session")
def fakes() -> dict[str, Any]:
    """Names defined in fake_server.py."""
    return runpy.run_path(str(_HERE / "fake_server.py"))


@pytest.fixture(scope="session")
def faulty_proxy() -> Any:
    """The class FaultyProxy."""
    return runpy.run_path(str(_HERE / "faults.py"))["FaultyProxy"]


@pytest.fixture
def server(vlm: OpenCLIP, fakes: dict[str, Any]) -> Iterator[Any]:
    with fakes["FakeServer"](vlm) as running:
        yield running


@pytest.fixture
def connect(server: Any, time: Time) -> Callable[..., RemoteVLM]:
    """Opens the model of ``server``."""

    def open_remote(**settings: Any) -> RemoteVLM:
        return RemoteVLM(
            settings.pop("url", server.url),
            **{"api_key": "secret", "retrying": time.retrying(), "timeout": 20.0, **settings},
        )

    return open_remote


class Mortal(httpx.BaseTransport):
    """Transport that dies after a number of score requests, before returning the last response."""

    class Died(BaseException):
        """Simulates that the process is killed."""

    def __init__(self, questions: int) -> None:
        self._left, self._inner = questions, httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        if request.url.path.endswith("scores"):
            self._left -= 1
            if self._left == 0:
                response.read()
                raise self.Died
        return response


@pytest.fixture
def mortal() -> type[Mortal]:
    return Mortal


@pytest.fixture
def json_server() -> Iterator[Callable[[Callable[[dict[str, Any]], Any]], str]]:
    """Starts HTTP servers, each of which answers POST by a function of JSON; returns a base URL.

    The function may return a pair of the status and the JSON.
    """
    running: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[dict[str, Any]], Any]) -> str:
        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True  # else a body waits 40 ms for an ACK
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                said = answer(body)
                status, said = said if isinstance(said, tuple) else (200, said)
                content = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        running.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}/v1"

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


@pytest.fixture
def paid_server() -> Iterator[Any]:
    """A server of all protocols that people pay for."""
    running = runpy.run_path(str(_HERE / "paid_server.py"))["PaidServer"]()
    yield running
    running.close()
