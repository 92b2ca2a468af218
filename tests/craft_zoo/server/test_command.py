"""``craft-zoo serve`` and the file of keys."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from craft_zoo.cli import serve as command
from craft_zoo.errors import CraftZooError
from craft_zoo.server import Account, Accounts
from craft_zoo.server.accounts import key_hash
from craft_zoo.server.billing import State
from craft_zoo.server.capabilities import public_name


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_a_new_key_is_shown_once_and_its_hash_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "secrets" / "keys.json"
    assert run("--new-key", "ann", "--keys", str(path)) == 0
    key = capsys.readouterr().out.strip()
    assert len(key) > 40
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert run("--new-key", "bob", "--keys", str(path), "--quota", "1000") == 0
    other = capsys.readouterr().out.strip()
    assert json.loads(path.read_text())["bob"] == {"key_sha256": key_hash(other), "quota": 1000}
    accounts = Accounts.read(path)
    assert accounts.find(key) == Account("ann", key_hash(key))
    assert accounts.find(other) == Account("bob", key_hash(other), 1000)
    assert accounts.find(key[:-1]) is accounts.find("") is accounts.find(key_hash(key)) is None
    with pytest.raises(CraftZooError, match="has an account ann already"):
        run("--new-key", "ann", "--keys", str(path))
    with pytest.raises(CraftZooError, match="name it with --keys"):
        run("--new-key", "ann")


def test_a_file_of_keys_stays_whose_it_is_and_as_readable(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    run("--new-key", "ann", "--keys", str(path))
    path.chmod(0o640)
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(path, 1234, 5678)
    run("--new-key", "bob", "--keys", str(path))
    about = path.stat()
    assert about.st_mode & 0o777 == 0o640
    assert not is_root or (about.st_uid, about.st_gid) == (1234, 5678)
    assert [account.name for account in Accounts.read(path)] == ["ann", "bob"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_keys_that_is_anothers_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    run("--new-key", "ann", "--keys", str(path))
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(CraftZooError, match="run this as the file's owner"):
        run("--new-key", "bob", "--keys", str(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is invalid"),
        ('{"ann": {"key_sha256": "abc"}}', "key_sha256 of ann"),
        ('{"ann": {"key": "abc"}}', "key_sha256 of ann"),
        (json.dumps({"ann": {"key_sha256": "0" * 64, "quota": -1}}), "quota of ann"),
        (json.dumps({name: {"key_sha256": "0" * 64} for name in "ab"}), "the same key"),
        ("{}", "no account"),
    ],
)
def test_files_of_keys_that_are_wrong_are_sentences(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(CraftZooError, match=said):
        Accounts.read(path)
    with pytest.raises(CraftZooError, match="cannot be read"):
        Accounts.read(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "pixel=5"], "unknown limit 'pixel'"),
        (["--limit", "pixels=many"], "must be a number"),
        (["--limit", "pixels=-1"], "more than 0"),
        (["--top-k", "0"], "top_k"),
        (["--max-batch", "0"], "batch"),
        (["--quota", "5"], "belongs to --new-key"),
        (["--port", "99999"], "no port 99999"),
        (["--port", "-1"], "no port -1"),
        (["--grace", "nan"], "nan seconds to stop"),
        (["--grace", "-1"], "-1 seconds to stop"),
        (["--grace", "inf"], "inf seconds to stop"),
        (["--name", " "], "not a valid model name"),
        (["--name", "a\nb"], "not a valid model name"),
    ],
)
def test_settings_out_of_range_are_sentences(arguments: list[str], said: str) -> None:
    with pytest.raises(CraftZooError, match=said):
        run(*arguments)


def test_a_state_that_cannot_be_used_is_a_sentence_about_it(
    tiny_craft_mini: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CraftZooError, match="file cannot be used"):
        run("--port", "0", "--state", str(tmp_path / "file"))
    other = State(tmp_path / "taken", 1)
    with pytest.raises(CraftZooError, match=r"another server keeps its state in .*taken"):
        run("--port", "0", "--state", str(tmp_path / "taken"))
    other.close()
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("craft-mini", "craft-mini"),
        ("ViT-B-32@openai", "ViT-B-32@openai"),
        ("ViT-B-32@/home/ann/a secret/mine.v2.pt", "ViT-B-32@mine.v2"),
        ("hf-hub:org/name", "hf-hub:org/name"),
        ("local-dir:/home/ann/mine", "local-dir:mine"),
        ("https://models.example.org", "https://models.example.org"),
    ],
)
def test_what_a_model_is_called_tells_of_no_folder(name: str, public: str) -> None:
    assert public_name(name) == public


_MAIN = """
import argparse, sys
from craft_zoo.cli import serve
parser = argparse.ArgumentParser()
serve.add_arguments(parser)
sys.exit(serve.run(parser.parse_args(sys.argv[1:])))
"""


@pytest.mark.slow
def test_a_signal_in_the_middle_of_uploads_ends_the_server_quietly(
    tmp_path: Path, start_command: Callable[..., Any]
) -> None:
    server = start_command(["serve", "--port", "0", "--state", str(tmp_path / "state")])
    said: list[str] = []
    while len(said) < 2:
        time.sleep(0.05)
        assert server.process.is_alive()
        said = server.output.read_text().splitlines() if server.output.exists() else []
    key, url = (line.rpartition(" ")[2] for line in said)
    port = int(url.rpartition(":")[2])
    who = f"Host: a\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    begun = (
        f"POST /v1/image-sets HTTP/1.1\r\n{who}Content-Length: 100000\r\n\r\n{{",
        f"POST /v1/classifiers HTTP/1.1\r\n{who}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n",
        f"POST /v1/classifiers HTTP/1.1\r\n{who}",
    )
    with ExitStack() as stack:
        sockets = []
        for part in begun:
            sockets.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)))
            sockets[-1].sendall(part.encode())
        answer = httpx.get(f"{url}/v1/model", headers={"Authorization": f"Bearer {key}"})
        assert answer.is_success  # so that what came before has been read
        os.kill(server.process.pid, signal.SIGTERM)
        for each in sockets[:2]:
            assert b" 503 " in each.recv(2**16)
        server.process.join(60)
    assert server.process.exitcode == 0
    log = server.errors.read_text()
    assert "Traceback" not in log
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line.get("status") for line in lines].count(503) == 2
    assert not [line for line in lines if line.get("level") == "error"]


@pytest.mark.slow
def test_the_command_serves_until_a_signal_comes(tmp_path: Path) -> None:
    state, named = tmp_path / "state", ["--name", "our model"]
    process = subprocess.Popen(
        [sys.executable, "-c", _MAIN, "--port", "0", "--state", str(state), *named],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    key = process.stdout.readline().rpartition(" ")[2].strip()
    said, _, url = process.stdout.readline().strip().rpartition(" ")
    assert said == "Serving our model at"
    assert httpx.get(f"{url}/readyz").is_success  # it listens where it says, once it says so
    answer = httpx.get(f"{url}/v1/model", headers={"Authorization": f"Bearer {key}"})
    assert answer.json()["name"] == "our model"
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert key not in log
    lines = [json.loads(line) for line in log.splitlines()]  # all of them
    assert any(line.get("path") == "/v1/model" for line in lines)
    assert (state / "serve-1.sqlite").exists()
