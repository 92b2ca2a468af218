"""Errors of the file system end a command with one sentence; a closed pipe is no error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from craft_zoo.cli import cache, main


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.EROFS, "Read-only file system", "out/config.json"),
            "out/config.json cannot",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file", Path("gone")), "gone cannot be read or"),
        (OSError(), "OSError"),
        (OSError("several\nlines"), "several lines"),
    ],
)
def test_what_a_file_system_refuses_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: OSError,
    sentence: str,
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(cache, "run", fail)
    assert main(["cache"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("craft-zoo: ")
    assert said.err.count("\n") == 1
    assert sentence in said.err


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as output:  # closing it writes what could not be written before
        monkeypatch.setattr(cache, "run", lambda _: print("x" * 100) or 0)
        monkeypatch.setattr("sys.stdout", output)
        assert main(["cache"]) == 1
    assert capsys.readouterr().err == ""
