"""The fuzzer: valid inputs are accepted, and changed ones never end in a traceback."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

_FILE = Path(__file__).with_name("readers.py")


@pytest.fixture(scope="module")
def readers() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz_readers", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_readers"] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def test_valid_inputs_are_accepted(readers: Any) -> None:
    for target in readers.targets().values():
        accepted = [readers.attempt(target, content)[0] == "accepted" for content in target.seeds]
        assert any(accepted), target.name


def test_changed_inputs_are_accepted_or_refused(readers: Any) -> None:
    for target in readers.targets().values():
        made = readers.inputs(target, random.Random(target.name))
        for content in (next(made) for _ in range(12)):
            outcome, report = readers.attempt(target, content)
            assert outcome in ("accepted", "refused"), f"{target.name}: {content!r}\n{report}"


def test_a_crash_is_kept_once_a_place(readers: Any, tmp_path: Path) -> None:
    def read(content: bytes, _: Path) -> None:
        {}[content]

    target = readers.Target("broken", [b"a"], read)
    for content in (b"a", b"b"):
        outcome, report = readers.attempt(target, content)
        assert outcome == "crashed"
        readers.keep(tmp_path, target, content, report)
    (kept,) = tmp_path.iterdir()
    assert (kept / "input").read_bytes() == b"a"
    assert "KeyError" in (kept / "traceback").read_text()
