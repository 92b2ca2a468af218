"""Fixtures for the server: a served model and its clients."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from craft_zoo.blackbox import VLM
from craft_zoo.openclip import OpenCLIP
from craft_zoo.protocol import (
    DIGEST_HEADER,
    IDEMPOTENCY_HEADER,
    decode_array,
    digest,
    encode_array,
    encode_files,
)
from craft_zoo.server import (
    Account,
    Accounts,
    Limits,
    ServeSettings,
    create_app,
)
from craft_zoo.server.accounts import key_hash
from craft_zoo.server.uvicorn_server import Server

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
CLASSNAMES = ["cat", "dog", "red square"]


@pytest.fixture(scope="session")
def vlm(tiny_vlm: OpenCLIP) -> OpenCLIP:
    return tiny_vlm


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """Makes a PNG file of random pixels."""
    return _png


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """Checks status and code of a refused request; returns its sentence."""
    return _refused


@pytest.fixture(scope="session")
def no_more_than() -> Callable[..., AbstractContextManager[None]]:
    """Fails if the body needs more megabytes or seconds; memory is measured on Linux only."""
    return _no_more_than


@contextmanager
def _no_more_than(megabytes: int, seconds: float = math.inf) -> Iterator[None]:
    gc.collect()
    if _CLEAR.exists():
        _CLEAR.write_text("5")  # begins to measure the peak anew
    before, began = _kilobytes("VmRSS"), time.process_time()
    yield
    assert _kilobytes("VmHWM") - before < 1024 * megabytes
    assert time.process_time() - began < seconds


def _kilobytes(name: str) -> int:
    if not _CLEAR.exists():
        return 0
    lines = (line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(next(lines).split()[1])


def _png(seed: int, size: tuple[int, int] = (24, 20)) -> bytes:
    """A PNG file of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class User:
    """A client of the protocol.

    Args:
        client: HTTP client.
        key: key of the account.
    """

    def __init__(self, client: httpx.Client, key: str) -> None:
        self.client, self.headers = client, {"Authorization": f"Bearer {key}"}
        self._asked = 0

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request and check the digest of the response."""
        headers = {**self.headers, **options.pop("headers", {})}
        response = self.client.request(method, path, headers=headers, **options)
        assert response.headers[DIGEST_HEADER] == digest(response.content)
        return response

    def announce(self, files: Sequence[bytes]) -> dict[str, Any]:
        digests = [hashlib.sha256(file).hexdigest() for file in files]
        response = self.send("POST", "/v1/image-sets", json={"images": digests})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def put(self, id: str, files: dict[int, bytes]) -> httpx.Response:
        return self.send("PUT", f"/v1/image-sets/{id}/images", content=encode_files(files))

    def upload(self, files: Sequence[bytes]) -> str:
        """Upload images; returns the id of their set."""
        answer = self.announce(files)
        if answer["missing"]:
            response = self.put(answer["id"], {place: files[place] for place in answer["missing"]})
            assert response.json() == {"missing": []}, response.text
        id: str = answer["id"]
        return id

    def classifier(self, classnames: Sequence[str] = CLASSNAMES, **more: str) -> str:
        """Open class names; returns the classifier's id."""
        body = {"classnames": list(classnames), **more}
        response = self.send("POST", "/v1/classifiers", json=body)
        assert response.status_code == 200, response.text
        id: str = response.json()["id"]
        return id

    def initial_context(self, classifier: str) -> np.ndarray:
        response = self.send("GET", f"/v1/classifiers/{classifier}/initial-context")
        return decode_array(response.content)

    def opened(self, images: int = 1) -> tuple[str, str, np.ndarray]:
        """Open class names and upload images; returns both ids, and the initial context."""
        classifier = self.classifier()
        context = self.initial_context(classifier)[None]
        return classifier, self.upload([_png(seed) for seed in range(images)]), context

    def score(
        self,
        classifier: str,
        images: str,
        prompts: np.ndarray | list[Any] | bytes,
        key: str | None = None,
    ) -> httpx.Response:
        """Score prompts; without an idempotency key, a new one is used."""
        self._asked += 1
        headers = {
            IDEMPOTENCY_HEADER: key or f"question {self._asked}".replace(" ", "-"),
            "Content-Type": "application/octet-stream",
        }
        if isinstance(prompts, list):
            headers["Content-Type"] = "application/json"
            body = json.dumps({"templates": prompts}).encode()
        else:
            body = prompts if isinstance(prompts, bytes) else encode_array(prompts)
        headers[DIGEST_HEADER] = digest(body)
        path = f"/v1/classifiers/{classifier}/scores"
        return self.send("POST", path, params={"images": images}, content=body, headers=headers)

    def usage(self) -> dict[str, Any]:
        usage: dict[str, Any] = self.send("GET", "/v1/usage").json()
        return usage


def _refused(response: httpx.Response, status: int, code: str) -> str:
    """Check that a request was refused; returns the sentence."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code, error
    message: str = error["message"]
    assert len(message) > 20
    assert "\n" not in message
    return message


ACCOUNTS = Accounts(
    [
        Account("ann", key_hash("key-of-ann")),
        Account("bob", key_hash("key-of-bob")),
        Account("poor", key_hash("key-of-poor"), quota=10),
    ]
)


class Served:
    """A running app with a client in this process for each account.

    Args:
        client: client of the app.
    """

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.service = client.app.state.service  # type: ignore[attr-defined]
        self.ann, self.bob, self.poor = (
            User(client, f"key-of-{name}") for name in ("ann", "bob", "poor")
        )


Serve = Callable[..., Served]
Listening = Callable[[Any], AbstractContextManager[tuple[str, Server]]]


@pytest.fixture
def serve(vlm: VLM) -> Iterator[Serve]:
    """Serves a tiny model or another one, with the given settings and limits.

    With ``adapter=``, an opened adapter is served, and the model with ``with_model=True``.
    """
    with ExitStack() as stack:

        def start(model: VLM = vlm, limits: dict[str, Any] | None = None, **given: Any) -> Served:
            clock = given.pop("clock", lambda: 0.0)
            routes = {name: given.pop(name) for name in ("adapter", "with_model") if name in given}
            most = {"burst": 10**6, **(limits or {})}
            settings = replace(ServeSettings(ACCOUNTS, limits=Limits(**most)), **given)
            app = create_app(model, settings, clock, **routes)
            return Served(stack.enter_context(TestClient(app, raise_server_exceptions=False)))

        yield start


@pytest.fixture
def listening(
    wait_for: Callable[..., None],
) -> Callable[[Any], AbstractContextManager[tuple[str, Server]]]:
    """Runs a server of an app on a free port; yields its address and the server."""

    @contextmanager
    def listen(app: Any) -> Iterator[tuple[str, Server]]:
        addresses: list[str] = []
        server = Server(app, "127.0.0.1", 0, 10, addresses.append)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            wait_for(lambda: addresses)
            server.config.port = int(addresses[0].rpartition(":")[2])
            yield addresses[0], server
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()

    return listen
