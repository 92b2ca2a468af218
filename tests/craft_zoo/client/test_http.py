"""HTTP requests: which failures are retried, messages of the others, and connections."""

from __future__ import annotations

import gc
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from craft_zoo.client.http import Http, checked_key
from craft_zoo.client.retrying import Damaged, Transient
from craft_zoo.errors import CraftZooError

URL = "https://models.example"
Handler = Callable[[httpx.Request], httpx.Response]


def http(handler: Handler) -> Http:
    return Http(URL, {"Authorization": "Bearer secret"}, 20.0, httpx.MockTransport(handler))


def failing(error: Exception) -> Handler:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    return handler


def untrusted() -> httpx.ConnectError:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.__cause__ = OSError("as httpcore has one between")
    error.__cause__.__context__ = cause
    return error


def test_a_certificate_that_is_not_trusted_is_no_passing_failure() -> None:
    sentence = rf"certificate of {URL} cannot be trusted \(self-signed certificate\): .*SSL_CERT"
    with pytest.raises(CraftZooError, match=sentence):
        http(failing(untrusted())).send("GET", "/")


def test_headers_that_cannot_be_sent_are_not_shown() -> None:
    error = httpx.LocalProtocolError("Illegal header value b'Bearer secret\\n'")
    with pytest.raises(CraftZooError, match="HTTP does not allow one of its headers") as caught:
        http(failing(error)).send("GET", "/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "unheard", "billed"),
    [
        (httpx.ConnectError("[Errno -2] Name or service not known"), True, False),
        (httpx.ConnectError("[Errno 111] Connection refused"), True, False),
        (httpx.ConnectTimeout("slow"), True, False),
        (httpx.ProxyError("403 Forbidden"), True, False),
        (httpx.WriteTimeout("slow"), False, False),
        (httpx.ReadTimeout("slow"), False, True),
        (httpx.ReadError("reset by peer"), True, True),
        (httpx.RemoteProtocolError("Server disconnected"), True, True),
    ],
)
def test_what_a_failure_says_of_the_address_and_the_bill(
    error: Exception, unheard: bool, billed: bool
) -> None:
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) == 2:
            return httpx.Response(503)
        raise error

    one = http(handler)
    with pytest.raises(Transient) as caught:
        one.send("GET", "/")
    assert (caught.value.unheard, caught.value.billed) == (unheard, billed)
    assert one.send("GET", "/").status == 503
    with pytest.raises(Transient) as caught:
        one.send("GET", "/")
    assert (caught.value.unheard, caught.value.billed) == (False, billed)


def test_an_answer_that_is_too_long_is_asked_for_once_more() -> None:
    one = http(lambda _: httpx.Response(200, content=bytes(2**20 + 101)))
    assert len(one.send("GET", "/", most=101).body) == 2**20 + 101
    with pytest.raises(Damaged, match=r"more than the 1,048,676 bytes") as caught:
        one.send("GET", "/", most=100)
    assert (caught.value.attempts, caught.value.billed) == (2, True)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith("SSL_CERT_"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "HTTP_PROXY",
            "ftp://me:secret@proxy:1",
            "the address of the proxy for .* is invalid: check HTTP_PROXY",
        ),
        ("https_proxy", "http://:bad:port", "of the proxy for .* is invalid: check https_proxy"),
        ("SSL_CERT_FILE", "/nowhere/secret", r"\(.*No such file .*\): check SSL_CERT_FILE"),
        ("SSL_CERT_FILE", __file__, r"certificates for .* cannot be read .*: check SSL_CERT_FILE"),
    ],
)
def test_proxies_and_certificates_that_the_environment_names(
    name: str, value: str, sentence: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, value)
    with pytest.raises(CraftZooError, match=sentence) as caught:
        Http(URL, {}, 20.0).send("GET", "/")
    assert "secret" not in str(caught.value)


def test_a_proxy_that_needs_a_package(environment: pytest.MonkeyPatch) -> None:
    environment.setitem(__import__("sys").modules, "socksio", None)
    environment.setenv("ALL_PROXY", "socks5://localhost:1")
    with pytest.raises(CraftZooError, match=r"pip install 'httpx\[socks\]', or change ALL_PROXY"):
        Http(URL, {}, 20.0).send("GET", "/")


@pytest.mark.parametrize("url", ["http://a..b", "http://xn--a.b"])
def test_a_host_that_cannot_be(url: str, environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(CraftZooError, match=f"{url} is not a URL"):
        Http(url, {}, 20.0).send("GET", "/")


def test_keys_that_no_header_holds_are_not_shown() -> None:
    assert checked_key(" secret\n", "HF_TOKEN") == "secret"
    for key in ("sec\nret", "sec\x00ret", "sécret"):
        with pytest.raises(CraftZooError, match="contains invalid characters: check HF_TOKEN") as e:
            checked_key(key, "HF_TOKEN")
        assert "ret" not in str(e.value)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own() -> None:
    one = http(lambda _: httpx.Response(200))
    first = one._client
    child = os.fork()
    if not child:
        signal.alarm(10)
        try:
            one.send("GET", "/")
            os._exit(int(one._client is first))
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    one.send("GET", "/")
    assert one._client is first


def test_real_connections(tmp_path: Path) -> None:
    """Kept between requests, and closed when they are left; a refused one is told from others."""
    connections: list[socket.socket] = []
    asked, go_on, closed = threading.Event(), threading.Event(), threading.Semaphore(0)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        while b"\r\n\r\n" in (request := connection.recv(2**16)):
            if b"slow" in request:
                asked.set()
                assert go_on.wait(20)
            connection.sendall(answer)
        connection.close()
        closed.release()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        one = Http(f"http://127.0.0.1:{listening.getsockname()[1]}", {}, 20.0)
        for _ in range(2):
            assert one.send("GET", "/").body == b"ok"
        assert len(connections) == 1
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(one.send, "GET", "/slow")
            assert asked.wait(20)
            one.reconnect()
            assert one.send("GET", "/").body == b"ok"
            assert len(connections) == 2
            assert not closed.acquire(blocking=False)
            go_on.set()
            assert slow.result().body == b"ok"
        del slow
        gc.collect()
        assert closed.acquire(timeout=20)
    with pytest.raises(Transient, match="refused") as caught:
        Http("http://127.0.0.1:1", {}, 20.0).send("GET", "/")
    assert caught.value.unheard
