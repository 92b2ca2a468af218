"""OpenAI's client behind proxies, redirections and gateways, such as litellm's."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from craft_zoo.client.chat import Chat
from craft_zoo.client.http import Http
from craft_zoo.client.language_model import LanguageModel
from craft_zoo.client.openai_sdk import OpenAIClient
from craft_zoo.client.question_service import ImageQuestion
from craft_zoo.client.retrying import Damaged, Transient
from craft_zoo.errors import CraftZooError

pytest.importorskip("openai")

Start = Callable[..., str]


@pytest.fixture
def requests() -> list[str]:
    """Paths of the requests to all servers of :func:`start`."""
    return []


@pytest.fixture
def start(requests: list[str]) -> Iterator[Start]:
    """Starts a server with one answer to all requests: status, headers and body."""
    running: list[ThreadingHTTPServer] = []

    def started(status: int = 200, body: Any = None, **headers: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                requests.append(f"{self.command} {self.path}")
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:  # what POST becomes where a redirection is followed
                self.do_POST()

        running.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=running[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}/v1"

    yield started
    for one in running:
        one.shutdown()
        one.server_close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("SSL_CERT_", "OPENAI_")):
            monkeypatch.delenv(name)
    return monkeypatch


def ask(url: str, timeout: float = 20.0) -> dict[str, Any]:
    client = OpenAIClient(url, "secret", timeout)
    return client.call(client.poster("/questions"), {"images": ["private"]}, "key")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(start: Start) -> None:
    """With those of its parent, it would read the answers to questions of its siblings."""
    asking = OpenAIClient(start(body={"id": "x"}), "secret")
    first = asking.client
    assert asking.call(asking.poster("/questions"), {}, "key") == {"id": "x"}
    child = os.fork()
    if not child:
        signal.alarm(10)
        try:
            answer = asking.call(asking.poster("/questions"), {}, "key")
            os._exit(int(answer != {"id": "x"} or asking.client._client is first._client))
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert asking.client is first


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_images_and_keys_do_not_follow_a_redirection(
    start: Start, requests: list[str], status: int
) -> None:
    elsewhere = start(body={"id": "x"})
    url = start(status, Location=f"{elsewhere}/questions")
    with pytest.raises(CraftZooError, match=f"{url} redirects to {elsewhere}: use that address"):
        ask(url)
    assert requests == ["POST /v1/questions"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("HTTP_PROXY", "ftp://me:secret@proxy:1", "proxy for .* is invalid: check HTTP_PROXY"),
        ("https_proxy", "http://:bad:port", "proxy for .* is invalid: check https_proxy"),
        ("SSL_CERT_FILE", "/nowhere", r"certificates .* cannot be read .*: check SSL_CERT_FILE"),
        ("ALL_PROXY", "socks5://localhost:1", r"pip install 'httpx\[socks\]', or change ALL_PROXY"),
    ],
)
def test_proxies_and_certificates_that_the_environment_names(
    name: str, value: str, sentence: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setitem(__import__("sys").modules, "socksio", None)
    environment.setenv(name, value)
    with pytest.raises(CraftZooError, match=sentence) as caught:
        ask("http://127.0.0.1:1/v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("send", [ask, lambda url: Http(url, {}, 20.0).send("GET", "/")])
def test_https_passes_through_a_proxy(
    send: Callable[[str], Any], environment: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []

    def proxy(server: socket.socket) -> None:
        connection = server.accept()[0]
        heard.append(connection.recv(1000))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        heard.append(connection.recv(1000))
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
        with ThreadPoolExecutor(1) as threads:
            threads.submit(proxy, server)
            with pytest.raises(Transient):  # as the proxy closes the tunnel
                send("https://model.example")
    assert heard[0].startswith(b"CONNECT model.example:443 ")
    assert heard[1].startswith(b"\x16\x03")  # the handshake of TLS


def test_an_address_that_does_not_answer_is_given_up_soon_and_bills_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(2)]  # they fill the queue of connections
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with pytest.raises(Transient, match=r"no connection in 0\.2 s") as caught:
            ask(f"http://127.0.0.1:{full.getsockname()[1]}", timeout=0.2)
        for one in waiting:
            one.close()
    assert (caught.value.unheard, caught.value.billed) == (True, False)


def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway may send blanks for as long as the model works, and each is a sign of life."""
    monkeypatch.setattr("craft_zoo.client.openai_sdk._WHOLE", 1)
    ended = threading.Event()

    def send_blanks(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not ended.wait(0.02):
            connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with ThreadPoolExecutor(2) as threads:
            asked = threads.submit(ask, url, timeout=0.5)
            connection = server.accept()[0]
            sending = threads.submit(send_blanks, connection)
            with pytest.raises(Transient, match=r"incomplete after 0\.5 s") as caught:
                asked.result(20)
            ended.set()
            sending.exception()
        connection.close()
    assert (caught.value.unheard, caught.value.billed) == (False, True)


def test_what_cannot_be_decompressed_is_not_asked_for_again_and_again(start: Start) -> None:
    url = start(body={}, Content_Encoding="gzip")
    with pytest.raises(Transient) as caught:
        ask(url)
    assert (caught.value.attempts, caught.value.unheard, caught.value.billed) == (2, False, True)


OVER = (
    "litellm.RateLimitError: OpenAIException - You exceeded your current quota, please check your"
)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (429, f"{OVER} plan and billing details. LiteLLM: model group 'm' failed."),
        (429, "Budget has been exceeded! Key=k Current cost: 2.0, Max budget: 1.0"),
        (400, "ExceededBudget: User=u over budget. Spend=2.0, Budget=1.0"),
        (429, "No deployments available - crossed budget"),
        (400, "Your credit balance is too low to access the Anthropic API."),
    ],
)
def test_a_gateway_says_in_words_that_no_quota_is_left(
    start: Start, status: int, said: str
) -> None:
    url = start(status, {"error": {"message": said, "type": "throttling_error", "code": "429"}})
    with pytest.raises(CraftZooError, match=r"has no quota left for this key .*: raise it"):
        ask(url)


@pytest.mark.parametrize(
    "said",
    [
        f"{OVER} plan and billing details. For more information on this error, head to: "
        "https://ai.google.dev/gemini-api/docs/rate-limits. Please retry in 16.6s.",
        "Rate limit reached for requests",
    ],
)
def test_a_limit_of_a_minute_is_waited_for(start: Start, said: str) -> None:
    with pytest.raises(Transient, match=said[:30]) as caught:
        ask(start(429, {"error": {"message": said, "code": "429"}}, Retry_After="3"))
    assert (caught.value.after, caught.value.attempts) == (3, None)
    with pytest.raises(Transient):
        ask(start(429, {"error": {"message": said, "code": "429"}}))


def test_a_choice_that_ended_with_an_error_is_no_refusal(start: Start) -> None:
    fault = {"code": 502, "message": "Provider returned error"}
    empty = {"role": "assistant", "content": ""}
    choice = {"index": 0, "finish_reason": "error", "message": empty, "error": fault}
    with pytest.raises(Transient, match="Provider returned error") as caught:
        ask(start(body={"choices": [choice], "usage": {"prompt_tokens": 0}}))
    assert not isinstance(caught.value, Damaged)


def test_a_gateway_that_the_environment_names_is_a_part_of_the_name(
    start: Start, environment: pytest.MonkeyPatch, requests: list[str]
) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "B"}}
    url = start(body={"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    environment.setenv("OPENAI_API_KEY", "k")
    environment.setenv("OPENAI_BASE_URL", f"{url}/")
    model = Chat("m")
    assert model.name == f"chat:m@{url}"
    assert "max_tokens" in model.request(b"", [ImageQuestion("Which?", (("a", ""), ("b", "")))])
    assert LanguageModel("chat:m").complete("?") == "B"
    assert requests == ["POST /v1/chat/completions"]
    for its_own in ("", "https://api.openai.com/v1/"):
        environment.setenv("OPENAI_BASE_URL", its_own)
        assert Chat("m").name == "chat:m"
    environment.setenv("OPENAI_BASE_URL", "gateway:4000")
    with pytest.raises(CraftZooError, match=r"gateway:4000 is not the URL .* in OPENAI_BASE_URL"):
        Chat("m")
