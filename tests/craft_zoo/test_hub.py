"""Adapters on the hub: pushed in one commit and read by address, with a local server as the hub."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo.adapter import Adapter
from craft_zoo.canaries import Canaries
from craft_zoo.cli.main import main
from craft_zoo.errors import CraftZooError
from craft_zoo.hub import FILE, local_file, upload
from craft_zoo.openclip import OpenCLIP
from craft_zoo.solution import Solution

hub = pytest.importorskip("huggingface_hub")


class FakeHub:
    """The parts of the hub's HTTP interface that an upload and a download use.

    Attributes:
        repositories: name → one dictionary of files for each commit.
        private: names of private repositories.
        fails_at: part of the path of requests that are refused.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.fails_at = "nothing"
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                fake.download(self)

            def do_GET(self) -> None:
                fake.download(self)

            def do_POST(self) -> None:
                fake.post(self, self.rfile.read(int(self.headers.get("content-length") or 0)))

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def download(self, http: BaseHTTPRequestHandler) -> None:
        name, _, rest = http.path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        commits = self.repositories.get(name)
        if commits is None or http.headers.get("authorization") != "Bearer secret":
            self.answer(http, 401, {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", *(f"{place:040}" for place in range(len(commits)))):
            self.answer(http, 404, {"X-Error-Code": "RevisionNotFound"})
        else:
            place = len(commits) - 1 if revision == "main" else int(revision)
            content = commits[place].get(file)
            if content is None:
                self.answer(http, 404, {"X-Error-Code": "EntryNotFound"})
                return
            tag = hashlib.sha256(content).hexdigest()
            headers = {"ETag": f'"{tag}"', "X-Repo-Commit": f"{place:040}"}
            self.answer(http, 200, headers, content)

    def post(self, http: BaseHTTPRequestHandler, body: bytes) -> None:
        parts = http.path.strip("/").split("/")
        if self.fails_at in parts:
            self.answer(http, 403)
        elif parts[-1] == "validate-yaml":
            self.json(http, {"errors": [], "warnings": []})
        elif parts[-1] == "create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            known = name in self.repositories
            self.repositories.setdefault(name, [])
            if asked.get("private") or asked.get("visibility") == "private":
                self.private.add(name)
            self.json(http, {"url": f"{self.url}/{name}"}, 409 if known else 200)
        elif "preupload" in parts:
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(body)["files"]
            ]
            self.json(http, {"files": files})
        else:
            commits, files = self.repositories["/".join(parts[2:4])], {}
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    files[line["value"]["path"]] = content
            commits.append((commits[-1] if commits else {}) | files)
            place = f"{len(commits) - 1:040}"
            url = f"{self.url}/{'/'.join(parts[2:4])}/commit/{place}"
            self.json(http, {"commitUrl": url, "commitOid": place, "success": True})

    def json(self, http: BaseHTTPRequestHandler, content: Any, status: int = 200) -> None:
        self.answer(
            http, status, {"Content-Type": "application/json"}, json.dumps(content).encode()
        )

    def answer(
        self,
        http: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str] | None = None,
        content: bytes = b"",
    ) -> None:
        http.send_response(status)
        for name, value in ((headers or {}) | {"Content-Length": str(len(content))}).items():
            http.send_header(name, value)
        http.end_headers()
        if http.command != "HEAD":
            http.wfile.write(content)


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    running = FakeHub()
    constants = hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", running.url)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        running.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    yield running
    running.close()


@pytest.fixture
def adapter(tiny_vlm: OpenCLIP, tiny_craft_mini: None, tmp_path: Path) -> Path:
    box = tiny_vlm.classifier(("red `square`", "green field", "blue sky"))
    saved = Adapter.of(Solution(box.initial_context), tiny_vlm, box)
    saved.model = "craft-mini"
    images = np.zeros((2, 8, 8, 3), np.uint8)
    saved.canaries = Canaries(images, np.zeros((2, 3), np.float32))
    saved.save(tmp_path / "a.adapter")
    return tmp_path / "a.adapter"


def test_what_is_pushed_in_one_commit_is_used_by_its_address(
    fake_hub: FakeHub,
    adapter: Path,
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["push", str(adapter), "user/pets", "--private", "--note", "Licence: MIT"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "small copies of 2 training images" in said
    assert "craft-zoo predict hf://user/pets" in said
    [files] = fake_hub.repositories["user/pets"]
    assert files[FILE] == adapter.read_bytes()
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: craft-zoo\n")
    for words in (
        "`red 'square'`",
        "Licence: MIT",
        "hf://user/pets",
        "`craft-mini`",
        "copies of 2",
    ):
        assert words in card
    assert fake_hub.private == {"user/pets"}

    assert main(["push", str(adapter), "user/pets", "--no-canaries"]) == 0
    assert "small copies" not in fake_hub.repositories["user/pets"][1]["README.md"].decode()
    assert Adapter.load("hf://user/pets").canaries is None
    first = f"hf://user/pets@{0:040}"
    assert Adapter.load(first).to_bytes() == adapter.read_bytes()
    images = str(image_folder / "test")
    outputs = []
    for name in (str(adapter), "hf://user/pets"):
        outputs.append(tmp_path / f"{len(outputs)}.csv")
        assert main(["predict", name, images, "--out", str(outputs[-1])]) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert main(["check", first, "--dry-run"]) == 0


def test_what_was_downloaded_is_used_without_the_hub(
    fake_hub: FakeHub, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload({FILE: adapter.read_bytes()}, "user/pets")
    found = local_file("hf://user/pets")
    fake_hub.close()
    assert local_file("hf://user/pets") == found
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert local_file("hf://user/pets") == found
    with pytest.raises(
        CraftZooError, match="the Hugging Face hub cannot be reached: check the net"
    ):
        local_file("hf://user/others")


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_network(
    fake_hub: FakeHub, adapter: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload({FILE: adapter.read_bytes()}, "user/pets")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(CraftZooError, match=r"cannot be written \(Not a directory\): free disk"):
        local_file("hf://user/pets")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("hf://user/none", "there is no such repository"),
        ("hf://user/pets@other", "there is no such revision: check what follows the @"),
        ("hf://user/empty", f"the repository has no {FILE}"),
        ("hf://pets", "is no address of an adapter: hf://user/name"),
        ("hf://user/../name", "is no address of an adapter"),
    ],
)
def test_an_address_that_cannot_be_read_is_one_sentence(
    fake_hub: FakeHub, address: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_hub.repositories |= {"user/pets": [{FILE: b""}], "user/empty": [{}]}
    assert main(["check", address]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


def test_nothing_is_uploaded_without_token_access_or_network(
    fake_hub: FakeHub,
    adapter: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["push", str(adapter), "user/pets"]
    for step in ("preupload", "commit"):
        fake_hub.fails_at = step
        assert main(words) == 2
        assert "nothing was uploaded, as there is no such repository, or your token does not" in (
            capsys.readouterr().err
        )
        assert fake_hub.repositories == {"user/pets": []}
    fake_hub.close()
    assert main(words) == 2
    assert "the Hugging Face hub cannot be reached" in capsys.readouterr().err
    monkeypatch.setattr(hub, "get_token", lambda: None)
    assert main(words) == 2
    assert "only with a token: set HF_TOKEN" in capsys.readouterr().err
    assert main([*words[:2], "pets"]) == 2
    assert "no name of a repository: write user/name" in capsys.readouterr().err
