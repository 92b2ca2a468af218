"""Servers that never finish, send unrequested data, or send terminal control characters."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import pytest

from craft_zoo.cli.main import main
from craft_zoo.client import HuggingFaceVLM, RemoteVLM, Retrying
from craft_zoo.client.http import Http
from craft_zoo.client.retrying import Damaged, Transient
from craft_zoo.errors import CraftZooError

SECONDS = 0.4
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
Sent = Callable[[], Iterable[bytes]]


@pytest.fixture
def serve() -> Iterator[Callable[[Sent], str]]:
    """A server that reads once from each connection and then sends pieces: the first at once, and
    each other one after a fifth of the deadline."""
    listening: list[socket.socket] = []

    def one(connection: socket.socket, sent: Sent) -> None:
        with connection, suppress(OSError):
            while connection.recv(2**16):
                for piece in sent():
                    connection.sendall(piece)
                    time.sleep(SECONDS / 5)

    def accept(server: socket.socket, sent: Sent) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=one, args=(connection, sent), daemon=True).start()

    def begin(sent: Sent) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)
        threading.Thread(target=accept, args=(server, sent), daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield begin
    for each in listening:
        each.close()


def then(first: bytes, *again: bytes) -> Sent:
    return lambda: itertools.chain([first], itertools.cycle(again))


ENDLESS = {
    "status line": then(b"HTTP/1.1 2", b""),
    "header": then(OK + b"X-A: ", b"a"),
    "headers": then(OK, b"X-A: a\r\n"),
    "interim answers": then(b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "size of a chunk": then(CHUNKED + b"1;", b"a"),
    "chunks": then(CHUNKED, b"1\r\na\r\n"),
    "trailer": then(CHUNKED + b"0\r\n", b"X-A: a\r\n"),
    "body": then(OK + b"Content-Length: 1000\r\n\r\n", b"a"),
    "nothing": then(b"", b""),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_exchange_ends_in_time(kind: str, serve: Callable[[Sent], str]) -> None:
    http = Http(serve(ENDLESS[kind]), {}, SECONDS)
    began = time.monotonic()
    with pytest.raises(Transient, match=r"no answer in 0\.4 s|incomplete after 0 s"):
        http.send("GET", "/")
    assert SECONDS <= time.monotonic() - began < 4 * SECONDS


def test_a_server_that_does_not_read_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        http = Http(f"http://127.0.0.1:{server.getsockname()[1]}", {}, SECONDS)
        began = time.monotonic()
        with pytest.raises(Transient):
            http.send("POST", "/", bytes(2**25))
        assert time.monotonic() - began < 4 * SECONDS


def test_the_time_is_counted_anew_on_a_connection_that_is_used_again(
    serve: Callable[[Sent], str],
) -> None:
    http = Http(serve(lambda: [OK + b"Content-Length: 2\r\n\r\n", b"a", b"b"]), {}, SECONDS)
    for _ in range(3):
        assert http.send("GET", "/").body == b"ab"


def test_models_behind_a_network_end_with_a_sentence(serve: Callable[[Sent], str]) -> None:
    url, retrying = serve(ENDLESS["interim answers"]), Retrying(attempts=1)
    with pytest.raises(CraftZooError, match="did not answer"):
        RemoteVLM(url, timeout=SECONDS, retrying=retrying)
    endpoint = HuggingFaceVLM(url, timeout=SECONDS, retrying=retrying)
    with pytest.raises(CraftZooError, match="did not answer"):
        endpoint.ask(b"image", ["cat", "dog"], "{}")


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "br", "zstd", "GZIP", "x"])
def test_an_answer_that_is_compressed_is_not_unpacked(
    encoding: str, serve: Callable[[Sent], str]
) -> None:
    body = gzip.compress(bytes(2**20))
    head = b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding.encode(), len(body))
    with pytest.raises(Damaged, match="compressed") as caught:
        Http(serve(lambda: [OK + head + body]), {}, 10.0).send("GET", "/", most=2**21)
    assert (caught.value.attempts, caught.value.billed) == (2, True)


@pytest.mark.parametrize("head", [OK + b"X-A: ", CHUNKED + b"1;"])
def test_heads_and_the_sizes_of_chunks_are_bounded(
    head: bytes, serve: Callable[[Sent], str]
) -> None:
    http = Http(serve(lambda: [head + b"a" * 2**20]), {}, 60.0)
    with pytest.raises(Transient, match="Receive buffer too long"):
        http.send("GET", "/")


EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202ecraft-zoo: all fine\nsecond line\r\x1b[1A\udc80"
RAW = ("\x1b", "\x07", "\x9b", "\r", "\u202e", "\nsecond", "\udc80")


def answer(status: int, about: object, head: bytes = b"") -> Sent:
    body = json.dumps(about).encode()
    digest = hashlib.sha256(body).hexdigest().encode()
    start = b"HTTP/1.1 %d X\r\nCraft-Zoo-Digest: %b\r\n%b" % (status, digest, head)
    return lambda: [start + b"Content-Length: %d\r\n\r\n" % len(body) + body]


@pytest.mark.parametrize("status", [401, 402, 404, 422, 500, 503])
def test_what_a_server_says_cannot_write_to_the_terminal(
    status: int, serve: Callable[[Sent], str]
) -> None:
    url = serve(answer(status, {"error": {"code": "quota_exceeded" + EVIL, "message": EVIL}}))
    with pytest.raises(CraftZooError) as caught:
        RemoteVLM(url, timeout=10, retrying=Retrying(attempts=1))
    assert r"\x1b]0;owned\x07" in str(caught.value)
    assert not [sign for sign in RAW if sign in str(caught.value)]
    endpoint = HuggingFaceVLM(serve(answer(status, {"error": EVIL})), retrying=Retrying(attempts=1))
    with pytest.raises(CraftZooError) as caught:
        endpoint.ask(b"image", ["cat", "dog"], "{}")
    assert not [sign for sign in RAW if sign in str(caught.value)]


def test_headers_and_names_cannot_either(serve: Callable[[Sent], str]) -> None:
    elsewhere = serve(answer(302, {}, b"Location: http://a/\x9b31m\xe2\x80\xae\r\n"))
    with pytest.raises(CraftZooError, match="redirects to") as caught:
        RemoteVLM(elsewhere, timeout=10, retrying=Retrying(attempts=1))
    assert "\x9b" not in str(caught.value)
    about = {"name": EVIL, "image_size": 8, "in_flight": 1, "accepts": ["texts"], "answers": EVIL}
    served = RemoteVLM(serve(answer(200, about)), retrying=Retrying(attempts=1)).served
    assert not [sign for sign in RAW if sign in served.name + served.answers]


def test_a_long_sentence_of_a_server_is_cut(serve: Callable[[Sent], str]) -> None:
    url = serve(answer(402, {"error": {"code": "quota_exceeded", "message": "long " * 10_000}}))
    with pytest.raises(CraftZooError) as caught:
        RemoteVLM(url, timeout=10, retrying=Retrying(attempts=1))
    assert len(str(caught.value)) < 2000


def test_the_command_prints_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise CraftZooError(f"the file {EVIL} of crêpes, 餃子 and می‌خواهم")

    monkeypatch.setattr("craft_zoo.cli.cache.run", fail)
    assert main(["cache"]) == 2
    said = capsys.readouterr().err
    assert not [sign for sign in RAW if sign != "\nsecond" and sign in said]
    assert "crêpes, 餃子 and می" in said
