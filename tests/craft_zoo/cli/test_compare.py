"""``craft-zoo compare``: its sentences agree with the numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from craft_zoo.benchmarks import Point, RunSpec, RunStore
from craft_zoo.cli import main
from craft_zoo.data import DatasetSpec


def fill(
    folder: Path,
    method: str,
    accuracies: list[float],
    dataset: str = "folder:a/d",
    **conditions: Any,
) -> None:
    store = RunStore(folder)
    for seed, accuracy in enumerate(accuracies, 1):
        run = RunSpec("m", DatasetSpec(dataset), method, "none", 16, seed, 100)
        run = replace(run, **conditions)
        about = {"train_accuracy": 1.0, "loss": 0.0, "seconds": 2.0, "search_predictions": 1}
        about |= {"refiner_predictions": 0, "evaluation_predictions": 0}
        start = Point(queries=0, accuracy=0.1, **about)  # type: ignore[arg-type]
        store.save(run, [start, replace(start, queries=50, accuracy=accuracy)], None)


BETTER = [0.52, 0.61, 0.55, 0.58, 0.6, 0.57, 0.59]


def test_a_clear_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "zip", [0.5, 0.55, 0.51, 0.53, 0.54, 0.52, 0.53])
    fill(tmp_path, "bbt", BETTER)
    assert main(["compare", "zip", "bbt", "--in", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "B (bbt) is better than A (zip) by 4.9 points" in text
    assert "7 pairs" in text
    assert "ahead in 100 % of them" in text
    assert "p = 0.016" in text
    assert main(["compare", "bbt", "zip", "--in", str(tmp_path), "--measure", "area"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "A (bbt) is better than B (zip) by 2.4 points" in text


def test_no_telling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "zip", [0.5, 0.6, 0.5])
    fill(tmp_path, "bbt", [0.6, 0.5, 0.51])
    assert main(["compare", "zip", "bbt", "--in", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "No significant difference: B (bbt) is ahead of A (zip) by 0.3 points" in text
    assert "3 pairs cannot give less than 0.250: bench more seeds" in text


def test_equal_scores_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "zip", [0.5, 0.6, 0.5])
    fill(tmp_path, "bbt", [0.5, 0.6, 0.5])
    assert main(["compare", "zip", "bbt", "--in", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "difference: A (zip) and B (bbt) are less than 0.05 points apart" in text
    assert "B is ahead in 50 % of them (of 3 with equal scores, half are counted)" in text


def test_two_benches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same method of another version, its data in another place."""
    fill(tmp_path / "old", "bbt", [accuracy - 0.1 for accuracy in BETTER])
    fill(tmp_path / "new", "bbt", BETTER, dataset="folder:elsewhere/d")
    where = ["--in", str(tmp_path / "old"), "--and-in", str(tmp_path / "new")]
    assert main(["compare", "bbt", "bbt", *where]) == 0
    text = capsys.readouterr().out
    assert "by 10.0 points" in text
    assert "differ in" not in text


def test_pairs_that_differ_in_more_than_the_method(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "a", "bbt", BETTER, data="12345678")
    conditions = {"model": "n", "budget": 800, "data": "abcdefgh", "measured_on": "val"}
    fill(tmp_path / "b", "bbt", BETTER, **conditions)
    where = ["--in", str(tmp_path / "a"), "--and-in", str(tmp_path / "b")]
    assert main(["compare", "bbt", "bbt", *where]) == 0
    assert (
        "The runs of a pair differ in more: model (m and n), budget (100 queries and 800 queries), "
        "images or class names (hash 123456 and hash abcdef), images of accuracy (test and val)."
    ) in " ".join(capsys.readouterr().out.split())


def test_what_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "zip", [0.5])
    fill(tmp_path, "bbt", [0.5], dataset="folder:other")
    for arguments, message in (
        (["zip", "bbt"], "were not run on the same task"),
        (["zip", "coop"], "holds no method 'coop': write one of 'zip', 'bbt'"),
        (["zip", "bbt", "--and-in", str(tmp_path / "none")], "holds no results"),
    ):
        assert main(["compare", *arguments, "--in", str(tmp_path)]) == 2
        assert message in capsys.readouterr().err
