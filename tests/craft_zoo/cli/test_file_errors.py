"""Errors of the file system end a command with one sentence; a closed pipe is no error."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from craft_zoo.cli import cache, main
from craft_zoo.client.files import file_of
from craft_zoo.data import open_image


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


@pytest.mark.parametrize("read", [open_image, file_of])
def test_large_and_damaged_images_are_named_in_one_sentence(
    read: Callable[[Path], object],
    image_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pillow warns of them without their names."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    small, large, huge = (image_folder / f"{height}.png" for height in (20, 40, 70))
    for path in (small, large, huge):
        Image.new("RGB", (30, int(path.stem))).save(path)

    def run(_: object) -> int:
        return len([read(path) for path in (small, large, huge)])

    monkeypatch.setattr(cache, "run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        main(["cache"])
    warned, *error = capsys.readouterr().err.splitlines()
    assert warned.startswith(f"craft-zoo: image {large} may be damaged or too large (")
    if read is open_image:
        assert error[0].startswith(f"craft-zoo: image {huge} is too large (Image size (2100 ")
        assert error[0].endswith("): make it smaller")


def test_a_command_runs_without_standard_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are None where they were closed before the start, as by ``>&- 2>&-``."""
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    assert main(["optimizers"]) == 0
    assert main(["optimizers", "no-such-optimizer"]) == 2


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (("predict", "my.adapter", "my.png", "--out", "{}.csv"), "--out"),
        (("evaluate", "my.adapter", "digits", "--card", "{}.html"), "--card"),
        (("tune", "digits", "--out", "{}.adapter"), "--out"),
    ],
)
def test_a_folder_that_cannot_be_written_is_known_before_the_model_is_asked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: tuple[str, ...],
    flag: str,
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # these tests may run as root
    assert main([part.format(tmp_path / "new") for part in command]) == 2
    expected = f"folder {tmp_path} cannot be written: choose another {flag}"
    assert expected in capsys.readouterr().err
