"""Accuracy against money: what runs are billed, in tables, figures and sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.benchmarks import (
    Point,
    RunSpec,
    RunStore,
    average_curves,
    conclusions,
    read_results,
    tidy,
    with_price,
    write_config,
)
from craft_zoo.benchmarks.report.tables import by_price, costs
from craft_zoo.blackbox import Price, Usage
from craft_zoo.blackbox.usage import short_amount
from craft_zoo.cli.main import main
from craft_zoo.data import DatasetSpec

NAN = float("nan")


def run(method: str, seed: int = 1) -> RunSpec:
    optimizer = "logit-gn" if method == "craft" else "none"
    return RunSpec("m", DatasetSpec("digits"), method, optimizer, 16, seed, 100)


def point(queries: int, accuracy: float, **billed: Any) -> Point:
    return Point(queries, accuracy, NAN, NAN, 160 * queries, 0, 1000, 1.0, **billed)


def curves(cost: float = 0.5) -> dict[RunSpec, list[Point]]:
    """Two seeds of craft, of which the second is twice as expensive, and other methods."""
    made = {
        run("craft", seed): [point(q, q / 100, cost=seed * q * cost / 50) for q in (0, 10, 80)]
        for seed in (1, 2)
    }
    for seed in (1, 2):
        made[run("refine", seed)] = [point(1, 0.6, cost=0.01)]
        made[run("anchors", seed)] = [point(26, 0.7, cost=0.02, image_predictions=26.0)]
        made[run("templates", seed)] = [point(50, 0.65, cost=0.9)]
    return made


def test_a_curves_cost_is_the_mean_over_the_seeds() -> None:
    average = average_curves(tidy(curves()))
    craft = average[average["label"] == "craft (logit-gn)"]
    assert craft["queries"].tolist() == [0, 10, 80]
    np.testing.assert_allclose(craft["cost"], [0, 0.15, 1.2])


def test_accuracies_are_those_that_had_been_paid_for() -> None:
    table = by_price(average_curves(tidy(curves())))
    assert table is not None
    table = table.set_index("method")
    assert table.index[0] == "craft (logit-gn)"  # by the accuracy at the end
    marks = [float(column) for column in table.columns[:-2]]
    assert marks == sorted(marks)
    assert len(marks) <= 6
    for mark, shown in zip(marks, table.loc["craft (logit-gn)"], strict=False):
        assert shown == pytest.approx(0 if mark < 0.15 else 10)
    assert table["price"].to_dict() == pytest.approx(
        {"craft (logit-gn)": 1.2, "anchors": 0.02, "templates": 0.9, "refine": 0.01}
    )


@given(st.floats(1e-6, 10), st.floats(1.01, 1e6))
def test_any_price_has_columns_below_it(cost: float, times: float) -> None:
    made = {
        run("refine"): [point(1, 0.5, cost=cost)],
        run("craft"): [point(0, 0.1, cost=0.0), point(100, 0.6, cost=cost * times)],
    }
    table = by_price(average_curves(tidy(made)))
    assert table is not None
    marks = [float(column) for column in table.columns[1:-2]]
    assert marks == sorted(set(marks))
    assert len(marks) <= 6
    assert all(0.999999 * cost <= mark < cost * times for mark in marks)
    assert len(marks) or times <= 2.5  # 1, 2 and 5 are at most that far apart


def test_lines_of_unknown_price_are_left_out(tmp_path: Path) -> None:
    made = curves()
    made[run("templates", 2)] = [point(50, 0.65)]  # one seed of it was made without a price
    table = by_price(average_curves(tidy(made)))
    assert table is not None
    assert set(table["method"]) == {"craft (logit-gn)", "refine", "anchors"}
    prices = costs(tidy(made)).set_index("method")["price"]
    assert np.isnan(prices["templates"])
    assert not any("templates" in sentence for sentence in conclusions(made)[-1:])
    unknown = {run: [replace(each, cost=NAN) for each in points] for run, points in made.items()}
    assert by_price(average_curves(tidy(unknown))) is None
    assert "price" not in costs(tidy(unknown))
    assert not any("price" in sentence for sentence in conclusions(unknown))


def test_the_best_by_price_are_said() -> None:
    """Templates cost more than anchors and are right less often."""
    assert conclusions(curves())[-1] == (
        "By the price of search and refiner, the best are refine with 60.0 % for 0.01, "
        "anchors with 70.0 % for 0.02, craft (logit-gn) with 80.0 % for 1.20 (means of 2 runs)."
    )
    free = {run: [replace(p, cost=0.0) for p in points] for run, points in curves().items()}
    assert not any("price" in sentence for sentence in conclusions(free))


def test_the_best_by_price_are_of_all_tasks() -> None:
    """A method that was run on one of two tasks, and would be the best there, is left out."""
    other = {
        replace(run, dataset=DatasetSpec("folder:a/b")): points
        for run, points in curves().items()
        if run.method != "anchors"
    }
    [*_, said] = conclusions(curves() | other)
    assert said == (
        "By the price of search and refiner, the best are refine with 60.0 % for 0.01, "
        "templates with 65.0 % for 0.90, craft (logit-gn) with 80.0 % for 1.20 (means of 4 runs)."
    )


def test_amounts_are_short() -> None:
    shown = [short_amount(cost) for cost in (0, 0.00012345, 0.5, 1, 1234.567, NAN)]
    assert shown == ["0.00", "0.000123", "0.50", "1.00", "1,234.57", ""]


def test_a_record_keeps_what_is_known(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    free, billed = point(0, 0.1, cost=0.0, evaluation_cost=0.1), point(10, 0.5)
    billed = replace(billed, billed_predictions=7, input_tokens=9, cost=0.3)
    store.save(run("craft"), [free, billed], None)
    assert store.load(run("craft")) == [free, billed]
    [record] = tmp_path.glob("runs/*/run.json")
    first, second = json.loads(record.read_text())["points"]
    assert first["cost"] == 0
    assert "billed_predictions" not in first
    assert "evaluation_cost" not in second


def test_another_price_may_be_given_afterwards(tmp_path: Path) -> None:
    """Records of earlier versions do not have the predictions that were billed."""
    earlier = [point(0, 0.1), point(10, 0.5)]
    billed = [replace(each, billed_predictions=each.queries, output_tokens=5) for each in earlier]
    store, made = RunStore(tmp_path), {run("refine"): earlier, run("anchors"): billed}
    for each, points in made.items():
        store.save(each, points, None)
    write_config(made, tmp_path)
    price = Price(predictions=0.5, output_tokens=2.0)
    priced = with_price(read_results(tmp_path).curves, price)
    assert [each.cost for each in priced[run("refine")]] == [0, 800]
    assert [each.cost for each in priced[run("anchors")]] == [10, 15]
    assert billed[1].usage == Usage(predictions=10, output_tokens=5)


@pytest.fixture
def bench(
    tiny_craft_mini: None, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a bench on 6 training images, with its results in ``out``; returns what it prints."""

    def run_bench(*more: str) -> str:
        words = ["bench", "--dataset", f"folder:{image_folder}", "--shots", "2", "--budget", "30"]
        assert main([*words, "--out", str(tmp_path / "out"), *more]) == 0
        return capsys.readouterr().out

    return run_bench


def test_a_bench_ends_with_its_price(bench: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = bench("--method", "refine", "--method", "craft", "--seeds", "1", "--price", "500")
    assert re.search(r"^method .* queries +image +price *$", said, re.M), said
    said = " ".join(said.split())
    # Of each training image refine asks once, and craft 30 times.
    assert "Search and refiner asked for 186 predictions, a price of 93.00" in said
    ends = pd.read_csv(out / "summary.csv").set_index("method")["cost"]
    assert ends.to_dict() == {"refine": 3.0, "craft": 90.0}
    assert main(["report", str(out)]) == 0
    report = out / "report"
    assert (report / "figures" / "price-colours-2-shots.png").stat().st_size > 10_000
    table = pd.read_csv(report / "tables" / "accuracy-by-price-colours-2-shots.csv")
    assert table.set_index("method")["price"].to_dict() == {"refine": 3.0, "craft (logit-gn)": 90.0}
    for page in ("report.html", "report.md"):
        text = (report / page).read_text()
        assert "had been paid for search and refiner" in text
        assert "price-colours-2-shots" in text
    assert main(["report", str(out), "--price", "1000", "--style", "paper"]) == 0
    assert (report / "figures" / "paper" / "price-colours-2-shots-column.pdf").exists()
    table = pd.read_csv(report / "tables" / "costs.csv").set_index("method")
    assert table["price"].to_dict() == {"refine": 6.0, "craft (logit-gn)": 180.0}


def test_a_bench_prices_the_runs_of_before(bench: Callable[..., str], tmp_path: Path) -> None:
    """A run without a price and one of another price beside a new one: all at the price given."""
    refine = ["--method", "refine"]
    for more in (["--seed", "1"], ["--seed", "2", "--price", "7"]):
        bench(*refine, *more)
    said = " ".join(bench(*refine, "--seeds", "3", "--price", "500").split())
    # Of each training image refine asks once, for each seed.
    assert "Search and refiner asked for 18 predictions, a price of 9.00." in said
    assert pd.read_csv(tmp_path / "out" / "summary.csv")["cost"].to_list() == [3.0]
    said = bench(*refine, "--seed", "3", "--price", "500")  # at this price already
    assert "measuring the accuracy for" in said


def test_the_price_of_measuring_is_that_of_the_run(bench: Callable[..., str]) -> None:
    """Zero-shot prediction searches for nothing, which does not tell at which price it was made."""
    zero_shot = ["--method", "zero-shot", "--seed", "1"]
    said = bench(*zero_shot, "--price", "100")
    assert "and measuring the accuracy for" in " ".join(said.split())
    said = bench(*zero_shot, "--price", "7")
    assert "measuring the accuracy for" not in " ".join(said.split())


def test_answers_of_a_language_model_without_a_price_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {run("llm-prompts"): [point(10, 0.5, llm_requests=3, llm_output_tokens=900)]}
    for each, points in made.items():
        RunStore(tmp_path).save(each, points, None)
    write_config(made, tmp_path)
    for price, free in (("2", True), ("predictions=2,llm_output_tokens=10", False)):
        assert main(["report", str(tmp_path), "--price", price]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert ("have no price and count as free" in said) is free
