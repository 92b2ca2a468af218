"""Files: atomic writes, also by concurrent writers, and bounded reads."""

from __future__ import annotations

import errno
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from craft_zoo.client.response_log import ResponseLog
from craft_zoo.errors import CraftZooError
from craft_zoo.files import read_bounded, replacing, write_atomically


def test_each_writer_has_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x" / "curves.csv"
    path.parent.mkdir()
    with replacing(path) as one, replacing(path) as other:
        assert one != other
        assert {one.parent, other.parent} == {path.parent}
        assert all(each.name.startswith(".curves.csv.") for each in (one, other))
        one.write_text("one")
        other.write_text("other")
    assert [file.name for file in path.parent.iterdir()] == ["curves.csv"]


def test_no_reader_sees_half_a_file_of_several_writers(tmp_path: Path) -> None:
    path, texts = tmp_path / "curves.csv", ["a" * 20_000, "b" * 15_000]
    write_atomically(path, texts[0])

    def write(text: str) -> None:
        for _ in range(50):
            write_atomically(path, text)
            assert path.read_text() in texts

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, texts))
    assert [file.name for file in tmp_path.iterdir()] == ["curves.csv"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), KeyError("x"), KeyboardInterrupt()]
)
def test_where_writing_fails_the_old_file_stays_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as beside:
            beside.write_text("new")
            raise error

    with pytest.raises(type(error)) as raised:
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]
    if isinstance(raised.value, OSError):
        assert raised.value.filename == str(path)


def test_an_error_names_the_target(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "a"
    with pytest.raises(FileNotFoundError) as raised:
        write_atomically(path, "x")
    assert raised.value.filename == str(path)


def test_an_error_on_a_full_disk_names_the_target_alone(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"full: '[^']*x\.json'$"), replacing(tmp_path / "x.json"):
        raise OSError(errno.ENOSPC, "full")


def test_a_response_that_a_full_disk_takes_in_part_does_not_spoil_the_next(tmp_path: Path) -> None:
    log = ResponseLog(tmp_path / "responses")
    log.begin("query")
    log.put("first", [1])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "responses").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
        with pytest.raises(CraftZooError, match="free disk space"):
            log.put("second", [2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.put("third", [3])
    assert ResponseLog(tmp_path / "responses").responses() == [[1], [3]]


def test_modes_are_the_umasks_or_less(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "open", "x")
        with replacing(tmp_path / "secret", 0o600) as beside:
            assert beside.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_names_up_to_the_longest(tmp_path: Path) -> None:
    for name in ("a" * 255, "é" * 127, os.fsdecode(b"\xff" * 255)):
        write_atomically(tmp_path / name, f"{name}\n")
        assert (tmp_path / name).read_bytes() == os.fsencode(name) + b"\n"


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bounded(tmp_path / "a", 5, "a plan") == b"12345"
    with pytest.raises(CraftZooError, match="more than 4 bytes, which is too many for a plan"):
        read_bounded(tmp_path / "a", 4, "a plan")
    with pytest.raises(CraftZooError, match="more than 1,000 bytes"):
        read_bounded(Path("/dev/zero"), 1000, "a plan")
