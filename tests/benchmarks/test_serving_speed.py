"""Speed measurements of a server, at their smallest size."""

from __future__ import annotations

import pandas as pd
import pytest

from craft_zoo.benchmarks.speed.load import (
    fairness,
    load_table,
    measure_classify,
    measure_load,
)
from craft_zoo.benchmarks.speed.serving import measure_loopback


@pytest.mark.slow
def test_a_run_through_a_server_is_the_same() -> None:
    table = pd.DataFrame(measure_loopback("digits", budget=60, repeats=1))
    assert table["where"].tolist() == ["one process", "a server"]
    assert table["same"].all()
    assert (table["seconds"] > 0).all()


@pytest.mark.slow
def test_load_is_answered_without_errors_in_fair_shares() -> None:
    table = pd.DataFrame(measure_load(["craft-mini"], clients=4, classes=(2,), seconds=1))
    assert len(table) == 4 * 2 * 2 * 2  # clients, tasks, batches, turns
    assert (table["bound"] > 0).all()
    summary = load_table(table)
    assert len(summary) == 2 * 2  # tasks, batches
    assert (summary["times"].groupby(["model", "tasks", "classes"]).first() == 1).all()
    assert summary["fairness"].between(0.5, 1).all()
    assert (table["errors"] == 0).all()
    assert (table["requests"] > 3).all()
    assert (table["p50"] <= table["p99"]).all()


@pytest.mark.slow
def test_a_served_adapter_under_load_answers_as_in_one_process() -> None:
    table = pd.DataFrame(measure_classify(["craft-mini"], clients=4, seconds=1))
    assert len(table) == 4 * 2 * 2  # clients, batches, turns
    assert len(load_table(table)) == 2
    assert (table["errors"] == 0).all()
    assert (table.groupby(["max_batch", "turn"])["requests"].sum() > 3).all()
    assert (table["difference"] <= 1e-5).all()
    assert (table["p50"] <= table["p99"]).all()
    assert (table["alone"] > 0).all()


def test_jains_index() -> None:
    assert fairness(pd.Series([5, 5, 5, 5])) == pytest.approx(1)
    assert fairness(pd.Series([8, 0, 0, 0])) == pytest.approx(0.25)
