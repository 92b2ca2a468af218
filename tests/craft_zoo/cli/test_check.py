"""``check``: its exit codes, what it says before it asks, and its plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import craft_zoo as cz
from craft_zoo.cli.main import main


@pytest.fixture
def adapter(tiny_craft_mini: None, image_folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "a.adapter"
    words = ["tune", f"folder:{image_folder}", "--out", str(out), "--shots", "2"]
    assert main([*words, "--method", "refine", "--estimate", "none"]) == 0
    return out


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["check", *map(str, words)])
        said = capsys.readouterr()
        return code, " ".join((said.out + said.err).split())

    return run


def changed(path: Path, **parts: object) -> cz.Adapter:
    adapter = cz.Adapter.load(path)
    return replace(adapter, **parts)


def test_the_same_model_is_the_same(adapter: Path, check: Callable[..., tuple[int, str]]) -> None:
    code, said = check(adapter, "--price", "1000")
    assert code == 0
    assert said.startswith("Asking about 6 images: 6 predictions, a price of 6.00")
    assert "differ by at most 0, in the mean by 0 (tolerance 0.01)" in said
    assert "changed: 0 of 6 The same" in said


def test_another_model_exits_with_1_and_a_plan(
    adapter: Path, check: Callable[..., tuple[int, str]]
) -> None:
    before = cz.Adapter.load(adapter)
    assert before.canaries is not None
    drifted = replace(before.canaries, logits=before.canaries.logits[:, ::-1].copy())
    changed(adapter, canaries=drifted).save(adapter)
    code, said = check(adapter)
    assert code == 1
    assert "Changed: the model does not answer" in said
    plan = "Tune again with 1 query (6 predictions): craft-zoo tune DATASET --model craft-mini"
    assert plan in said
    assert said.endswith("; refine took 1 query")
    assert check(adapter, "--tolerance", "1e9")[0] == 0


def test_weights_that_are_others_are_not_asked(
    adapter: Path, check: Callable[..., tuple[int, str]]
) -> None:
    before = cz.Adapter.load(adapter)
    changed(adapter, fingerprint=tuple(2 * value for value in before.fingerprint)).save(adapter)
    code, said = check(adapter)
    assert code == 1
    assert "Changed, and nothing was asked: the adapter was made for craft-mini" in said
    assert "Asking" not in said


def test_a_dry_run_asks_nothing(adapter: Path, check: Callable[..., tuple[int, str]]) -> None:
    code, said = check(adapter, "--dry-run")
    assert (code, said) == (0, "Asking about 6 images: 6 predictions")
    code, said = check(adapter, "--tolerance", "-1")
    assert code == 2
    assert "--tolerance must be at least 0" in said


def test_an_adapter_without_canaries(
    adapter: Path, image_folder: Path, check: Callable[..., tuple[int, str]]
) -> None:
    words = ["tune", f"folder:{image_folder}", "--out", str(adapter), "--shots", "2", "--force"]
    assert main([*words, "--method", "refine", "--estimate", "none", "--no-canaries"]) == 0
    assert cz.Adapter.load(adapter).canaries is None
    code, said = check(adapter)
    assert code == 2
    assert "has no canaries" in said
    assert "tune again" in said
