"""Constraints of minimize: classic problems with known optima, and what a result says."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo.optimizers import Integer, OptimizerError, Real, maximize, minimize


def rosen_suzuki(x: np.ndarray) -> float:
    """Problem 43 of Hock & Schittkowski (1981), whose optimum is -44 at (0, 1, 2, -1)."""
    a, b, c, d = x
    return float(a**2 + b**2 + 2 * c**2 + d**2 - 5 * a - 5 * b - 21 * c + 7 * d)


def rosen_suzuki_constraints(x: np.ndarray) -> list[float]:
    a, b, c, d = x
    return [
        a**2 + b**2 + c**2 + d**2 + a - b + c - d - 8,
        a**2 + 2 * b**2 + c**2 + 2 * d**2 - a - d - 10,
        2 * a**2 + b**2 + c**2 + 2 * a - b - d - 5,
    ]


PROBLEMS: dict[str, tuple[Any, Any, dict[str, Any], float, float]] = {
    "Rosen-Suzuki": (rosen_suzuki, rosen_suzuki_constraints, {"x0": [0.0] * 4}, -44, 0.01),
    "Rosenbrock in a disk": (
        lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2,
        [lambda x: x[0] ** 2 + x[1] ** 2 - 2],
        {"x0": [0.0, 0.0], "scale": 0.5},
        0,
        1e-6,
    ),
    "G06 of Michalewicz & Schoenauer (1996)": (
        lambda x: (x[0] - 10) ** 3 + (x[1] - 20) ** 3,
        [
            lambda x: 100 - (x[0] - 5) ** 2 - (x[1] - 5) ** 2,
            lambda x: (x[0] - 6) ** 2 + (x[1] - 5) ** 2 - 82.81,
        ],
        {"bounds": [(13, 100), (0, 100)], "budget": 3000},
        -6961.81388,
        0.01,
    ),
    "an equality": (
        lambda x: float(x @ x),
        [lambda x: x.sum() - 1 - 1e-4, lambda x: 1 - 1e-4 - x.sum()],
        {"x0": [2.0, 0.0]},
        0.5,
        1e-3,
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_classic_problems(name: str) -> None:
    f, constraints, given, optimum, within = PROBLEMS[name]
    result = minimize(f, **{"budget": 1000, "seed": 1} | given, constraints=constraints)
    assert result.optimizer.startswith("cma:popsize=")
    assert result.violation == 0
    assert f(result.x) == result.loss
    assert abs(result.loss - optimum) < within


def test_a_result_says_what_is_feasible() -> None:
    seen: list[float] = []

    def f(x: np.ndarray) -> float:
        seen.append(float(1 - x.sum()))
        return float(x @ x)

    result = minimize(f, [0.0, 0.0], constraints=lambda x: 1 - x.sum(), budget=300, seed=1)
    table = result.history
    assert table["violation"].tolist() == pytest.approx(np.maximum(0, seen).tolist())
    feasible = table[table["violation"] == 0]
    assert table["best"].iloc[-1] == feasible["loss"].min() == result.loss
    assert table["best"].isna().equals((table["violation"] == 0).cumsum() == 0)
    assert table["loss"].min() < 0.5 <= result.loss
    assert "violation    0" in repr(result)
    assert minimize(f, [0.0], budget=20).violation == 0

    other = maximize(
        lambda x: -f(x), [0.0, 0.0], constraints=lambda x: 1 - x.sum(), budget=300, seed=1
    )
    assert np.array_equal(other.x, result.x)
    met = minimize(f, [0.0, 0.0], constraints=lambda x: 1 - x.sum(), budget=300, target=0.6, seed=1)
    assert "target" in met.reason
    assert (met.violation, met.loss <= 0.6) == (0, True)


def test_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    minimize(np.sum, [1.0, 1.0], budget=40, constraints=lambda x: 1 - x[0], seed=1)
    assert not list(tmp_path.iterdir())


def test_the_least_violation_if_nothing_is_feasible_and_failures() -> None:
    result = minimize(
        lambda x: float(x @ x), [3.0, 3.0], constraints=lambda x: 1 + x @ x, budget=300, seed=1
    )
    assert result.violation == pytest.approx(1, abs=0.01)
    calls = iter(range(1000))
    result = minimize(
        lambda x: float(x @ x),
        [3.0, 3.0],
        constraints=[lambda x: math.nan if next(calls) % 3 == 0 else 1 - x[0], lambda x: x[1] - 2],
        budget=600,
        seed=1,
    )
    assert (result.violation, result.loss) == (0, pytest.approx(1, abs=0.01))
    assert result.history["violation"].isna().sum() == 200


def double(x: list[Any]) -> float:
    return x[0] + 2 * x[1]


def test_mixed_variables_and_workers() -> None:
    with ThreadPoolExecutor(2) as executor:
        result = minimize(
            double,
            space=[Integer(0, 9), Real(0, 9)],
            constraints=lambda x: 7.5 - x[0] - x[1],
            budget=400,
            executor=executor,
            seed=1,
        )
    assert result.x == [9, pytest.approx(0, abs=0.01)] or result.loss == pytest.approx(7.5, abs=0.6)
    assert result.history["violation"].gt(0).any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"constraints": 3}, "constraints has 3, which is no function"),
        ({"constraints": [abs, "x"]}, "constraints has 'x', which is no function"),
        ({"constraints": lambda x: None}, "a constraint returned None: return a number or"),
        ({"constraints": lambda x: "no"}, "a constraint returned 'no'"),
        ({"constraints": lambda x: []}, r"a constraint returned \[\]"),
        (
            {"constraints": abs, "output_loss": lambda r: (0, r)},
            "constraints cannot be used with output_",
        ),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptimizerError, match=message):
        minimize(rosen_suzuki, [0.0] * 4, budget=99, **given)
