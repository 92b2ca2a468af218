"""minimize and maximize, a whole search in one call."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds

from craft_zoo.optimizers import OptimizerError, Result, Space, create, maximize, minimize, restore

SPEC = "cma:popsize=6"


def sphere(x: np.ndarray) -> float:
    return float(((x - 0.5) ** 2).sum())


def test_a_result_says_what_was_found_and_how_to_repeat_it() -> None:
    result = minimize(sphere, np.zeros((2, 2)), budget=250)
    assert result.x.shape == result.recommended.shape == (2, 2)
    assert result.loss == sphere(result.x) < 1e-3
    assert (result.evaluations, result.reason) == (250, "the budget of 250 is spent")
    table = result.history
    assert list(table) == ["evaluation", "loss", "best", "seconds"]
    assert table["best"].iloc[-1] == table["loss"].min() == result.loss
    assert table["seconds"].is_monotonic_increasing
    assert result.plot().get_title() == result.optimizer
    again = minimize(
        sphere, np.zeros((2, 2)), budget=250, optimizer=result.optimizer, seed=result.seed
    )
    assert np.array_equal(again.x, result.x)
    for each in (f"{result.loss:.9g}", "250 of 250", result.reason, str(result.seed)):
        assert each in repr(result)


def test_a_plot_is_logarithmic_if_no_loss_is_below_0() -> None:
    above = minimize(lambda x: 1 + sphere(x), [0.5], budget=30, seed=1)
    assert above.plot().get_yscale() == "log"
    below = maximize(lambda x: 1 - sphere(x), [0.5], budget=30, bounds=(-3, 3), seed=1)
    assert below.history["loss"].min() < 0 < below.history["best"].min()
    assert below.plot().get_yscale() == "linear"


@pytest.mark.parametrize(
    "kind",
    [
        float,
        np.float32,
        np.array,
        lambda loss: np.array([loss]),
        torch.tensor,
        lambda loss: torch.tensor([loss], requires_grad=True),
    ],
)
def test_a_loss_is_any_single_number(kind: Any) -> None:
    result = minimize(lambda x: kind(sphere(x)), [0.0, 0.0], budget=60, seed=1)
    assert result.loss == pytest.approx(minimize(sphere, [0.0, 0.0], budget=60, seed=1).loss)


def test_a_masked_loss_or_constraint_is_a_failed_evaluation() -> None:
    def loss(x: np.ndarray) -> Any:  # a mean of data that are all masked where x is below 0.4
        return np.ma.masked_less(x, 0.4).mean()

    result = minimize(loss, [1.0], budget=60, seed=1)
    assert result.x[0] == result.loss >= 0.4
    assert result.history["loss"].isna().any()
    found = minimize(sphere, [1.0], constraints=loss, budget=60, seed=1)
    assert found.x[0] >= 0.4
    optimizer = create("cma:popsize=4", 2, budget=30, seed=1)
    optimizer.tell(optimizer.ask(), np.ma.array([3, 2, 1, 0], mask=[0, 0, 0, 1]))
    assert optimizer.best.loss == 1


def test_losses_are_told_in_any_collection() -> None:
    asked = []
    for pack in (np.array, list, iter, torch.tensor, lambda v: [torch.tensor(x) for x in v]):
        optimizer = create(SPEC, 2, budget=30, seed=1)
        losses = [sphere(z) for z in optimizer.ask()]
        optimizer.tell(optimizer._awaited.generation, pack(losses))
        asked.append(optimizer.ask())
    for each in asked[1:]:
        np.testing.assert_allclose(each, asked[0], rtol=1e-5)
    with pytest.raises(OptimizerError, match="a loss must be one number, not 'low'"):
        optimizer.tell(asked[-1], ["low"] * 6)


def test_failures_do_not_end_the_search_and_are_not_the_best() -> None:
    bad = itertools.cycle([np.nan, -np.inf, 10**400, -(10**400), 0, 0])
    result = minimize(lambda x: next(bad) or sphere(x), [0.0, 0.0], budget=200)
    assert result.evaluations == 200
    assert result.loss == sphere(result.x) < 0.1
    nothing = minimize(lambda x: np.nan, [1.0, 2.0], budget=20)
    assert (nothing.x.tolist(), nothing.loss) == ([1.0, 2.0], np.inf)
    assert nothing.history["best"].isna().all()
    assert "20 of 20, 20 failed" in repr(nothing)


@pytest.mark.parametrize(
    ("bounds", "low", "high"),
    [
        ((0, 2), [0, 0], [2, 2]),
        ([(0, None), (None, 0.2)], [0, -np.inf], [np.inf, 0.2]),
        (Bounds([-1, 0.2], 3), [-1, 0.2], [3, 3]),
        ([(0.2, 0.2), (-9, 9)], [0.2, -9], [0.2, 9]),
    ],
)
def test_points_stay_inside_the_bounds(bounds: Any, low: list[float], high: list[float]) -> None:
    points = []
    result = minimize(
        lambda x: points.append(x.copy()) or sphere(x + 1),
        [0.2, 0.2],
        bounds=bounds,
        scale=3,
        budget=400,
    )
    assert (np.array(points) >= low).all()
    assert (np.array(points) <= high).all()
    expected = np.clip([-0.5, -0.5], low, high)
    np.testing.assert_allclose(result.x, expected, atol=0.05)


def test_the_start_and_the_scale_come_from_the_bounds() -> None:
    points = []
    minimize(
        lambda x: points.append(x) or sphere(x),
        bounds=[(0, 10), (-1000, 1000)],
        budget=100,
        optimizer="random:popsize=100",
    )
    spread = np.std(points, axis=0)
    np.testing.assert_allclose(spread / [2, 400], 1, rtol=0.3)
    np.testing.assert_allclose(np.mean(points, axis=0) / [5, 1e9], [1, 0], atol=0.2)


def test_what_ends_a_search() -> None:
    reached = minimize(sphere, [0.0, 0.0], budget=900, target=1e-3)
    assert reached.reason == "the target of 0.001 is reached"
    assert reached.loss <= 1e-3 < reached.history["loss"][:-1].min()
    assert reached.extend().reason == "the budget of 900 is spent"

    late = minimize(sphere, [0.0, 0.0], budget=900, seconds=0)
    assert (late.reason, late.evaluations) == ("0 seconds are over", 0)

    calls = []
    asked = minimize(
        sphere, [0.0], budget=900, optimizer=SPEC, callback=lambda r: calls.append(r) or r.loss < 9
    )
    assert (asked.reason, asked.evaluations) == ("the callback asked to end", 6)
    assert calls == [asked]

    assert "scipy's search has converged" in (
        minimize(sphere, [0.0], budget=9000, optimizer="powell:restarts=false").reason
    )
    assert "pycma has converged" in minimize(sphere, [0.0], budget=9000, optimizer=SPEC).reason


def test_auto_says_what_it_chose_and_can_be_told_what_to_do() -> None:
    assert repr(create("auto", 10, budget=2000, seed=1)).startswith(
        "<auto:stages=cobyqa*100+l-bfgs*1000+cma: 10 variables, 0 of 2000 evaluations"
    )
    chosen = {
        "nelder-mead": create("auto", 2, budget=4000, seed=1),
        "cobyqa": create("auto", 10, budget=40, seed=1),
        "auto:stages=l-bfgs*60000+sep-cma": create("auto", 600, budget=30000, seed=1),
        "auto:stages=separable*2400+sep-cma": create("auto", 600, budget=2400, seed=1),
        "auto:stages=separable*300+spsa": create("auto", 60, budget=300, seed=1),
        "spsa": create("auto", 60, budget=60, seed=1),
        "l-bfgs": create("auto", 60, budget=1, seed=1),
        "random:start=true": create("auto", 60, budget=60, seed=1, parallel=True),
        "sep-cma:popsize=23,restarts=bipop": create("auto", 600, budget=900, seed=1, parallel=True),
        "cma:popsize=10,restarts=bipop": create("auto", 10, budget=500, seed=1, parallel=True),
        "logit-gn": create("auto", 10, budget=500, seed=1, outputs=True),
        "genetic": create("auto", Space(2, choices=[3, 3]), budget=500, seed=1),
        "auto:stages=cobyqa*50+large-cma": create("auto", 5, budget=500, seed=1, noisy=True),
        "auto:stages=cobyqa*50+spsa": create("auto", 5, budget=499, seed=1, noisy=True),
        "auto:stages=cobyqa*20+large-cma": create("auto", 2, budget=500, seed=1, noisy=True),
        "cma:popsize=32": create("auto", 1, budget=500, seed=1, noisy=True),
        "cma:popsize=40": create("auto", 5, budget=200, seed=1, noisy=True, parallel=True),
        "snes:popsize=64": create("auto", 5, budget=500, seed=1, noisy=True, rounded=True),
    }
    for spec, optimizer in chosen.items():
        assert optimizer.spec == spec
    result = minimize(sphere, [0.0] * 4, budget=90, optimizer="auto:stages=powell*30+cma", seed=1)
    assert result.optimizer == "auto:stages=powell*30+cma"
    for stages in ("cma*ten", "*10", "cma+"):
        with pytest.raises(OptimizerError, match="of 'auto' cannot be read: write names and"):
            create(f"auto:stages={stages}", 3, budget=100, seed=1)


def test_maximize_keeps_the_sign() -> None:
    result = maximize(lambda x: -sphere(x), [0.0, 0.0], budget=900, target=-1e-4, seed=1)
    assert 0 > result.loss >= -1e-4
    assert result.history["best"].iloc[-1] == result.loss
    assert np.array_equal(minimize(sphere, [0.0, 0.0], budget=900, target=1e-4, seed=1).x, result.x)


class Sometimes:
    """The sphere function, which raises in one call."""

    def __init__(self, error: BaseException, call: int) -> None:
        self.error, self.call, self.calls = error, call, 0

    def __call__(self, x: np.ndarray) -> float:
        self.calls += 1
        if self.calls == self.call:
            raise self.error
        return sphere(x)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("workers", [0, 3])
def test_an_exception_loses_nothing(error: BaseException, workers: int) -> None:
    executor: Executor | None = ThreadPoolExecutor(workers) if workers else None
    with pytest.raises(type(error)) as caught:
        minimize(
            Sometimes(error, 9), [0.0] * 3, budget=60, optimizer=SPEC, seed=1, executor=executor
        )
    partial: Result = caught.value.result  # type: ignore[attr-defined]
    if workers and isinstance(error, KeyboardInterrupt):  # waits for no other worker
        assert 8 <= partial.evaluations <= 11
    else:
        assert partial.evaluations == (11 if workers else 8)
    assert "result.extend() goes on" in caught.value.__notes__[0]
    assert type(error).__name__ in partial.reason
    whole = minimize(sphere, [0.0] * 3, budget=60, optimizer=SPEC, seed=1)
    assert partial.extend() is partial
    assert sorted(partial.history["loss"]) == sorted(whole.history["loss"])
    assert np.array_equal(partial.recommended, whole.recommended)


def test_a_function_that_returns_nothing_is_explained_and_replaced() -> None:
    with pytest.raises(OptimizerError, match="a loss must be one number, not None") as caught:
        minimize(lambda x: None, [0.0], budget=60)
    assert caught.value.result.extend(f=sphere).evaluations == 60  # type: ignore[attr-defined]


@pytest.mark.parametrize("spec", ["cma:popsize=6", "spsa", "random", "nevergrad:OnePlusOne"])
def test_a_budget_is_extended(spec: str) -> None:
    result = minimize(sphere, [0.0] * 3, budget=50, optimizer=spec, seed=1)
    assert result.extend(25).extend(30).evaluations == 105
    optimizer = result._optimizer
    assert np.array_equal(restore(optimizer.state()).recommend(), optimizer.recommend())
    optimizer.extend(40)
    assert np.array_equal(restore(optimizer.state()).ask(), optimizer.ask())
    with pytest.raises(OptimizerError, match="between ask and tell"):
        optimizer.extend(1)


def test_an_optimizer_that_learns_from_outputs() -> None:
    goal = np.arange(4) / 5
    result = minimize(
        lambda x: x - goal, np.zeros(4), budget=80, output_loss=lambda r: (float(r @ r) / 2, r)
    )
    assert result.optimizer == "logit-gn"
    assert result.loss < 1e-2
    optimizer = result._optimizer
    restored = restore(optimizer.state())
    assert restored.best.loss == optimizer.best.loss
    assert np.array_equal(restored.recommend(), optimizer.recommend())
    with pytest.raises(OptimizerError, match="learns from outputs: give output_loss"):
        minimize(sphere, [0.0], budget=80, optimizer="logit-gn")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x0": None}, "give the start x0, or bounds"),
        ({"x0": []}, "x0 must be one finite number or more"),
        ({"x0": [np.nan]}, "x0 must be one finite number or more"),
        ({"x0": [3.0], "bounds": (0, 1)}, "x0 lies outside the bounds"),
        ({"x0": [3.0], "bounds": [(0, 4), (0, 4)]}, "bounds of 2 variables, but x0 has 1"),
        ({"x0": [3.0, 1.0], "scale": [1, 2, 3]}, "scales of 3 variables, but x0 has 2"),
        ({"x0": [3.0], "scale": 0}, "scale must be finite and above 0"),
        ({"x0": [3.0], "budget": 0}, "budget must be a whole number"),
        ({"x0": [3.0], "optimizer": "cmaa"}, "did you mean 'cma'"),
        ({"x0": [3.0], "noisy": True, "constraints": sphere}, "noisy cannot be used with"),
        ({"x0": [3.0], "maximize": True, "output_loss": max}, "no maximum: minimise it"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptimizerError, match=message):
        minimize(sphere, **{"budget": 50} | arguments)


def test_best_beside_recommend() -> None:
    optimizer = create(SPEC, 2, budget=60, seed=1)
    assert optimizer.best.loss == np.inf
    assert not optimizer.best.point.any()
    told: list[float] = []
    while not optimizer.stop:
        candidates = optimizer.ask()
        losses = [sphere(z) for z in candidates]
        optimizer.tell(candidates, [np.nan, *losses[1:]])
        told += losses[1:]
    assert optimizer.best.loss == min(told) == sphere(optimizer.best.point)
    assert f"2 variables, 60 of 60 evaluations, best loss {min(told):.6g}" in repr(optimizer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"f": None}, "f must be a function"),
        ({"callback": 3}, "callback must be a function"),
        ({"optimizer": None}, "optimizer must be a spec"),
        ({"target": "low"}, "target must be a number or None"),
        ({"seconds": math.nan}, "seconds must be a number or None"),
        ({"x0": [1 + 2j, 0]}, "x0 is complex"),
        ({"bounds": [(0, 1, 2)]}, "bounds have the shape"),
        ({"bounds": (2, -2)}, "a lower bound is above its upper bound"),
        ({"x0": None, "bounds": (0, None)}, "^a variable has no bound on one side"),
        ({"bounds": [(0, 0), (0, 0)]}, "leave no variable free"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(arguments: dict[str, Any], message: str) -> None:
    given = {"f": lambda x: float(x @ x), "x0": [0.0, 0.0], "budget": 10} | arguments
    with pytest.raises(OptimizerError, match=message):
        minimize(given.pop("f"), given.pop("x0"), **given)


def test_a_function_that_changes_its_argument_changes_no_result() -> None:
    def changing(x: np.ndarray) -> float:
        loss = float(x @ x)
        x[:] = 99
        return loss

    start = np.array([3.0, 4.0])
    result = minimize(changing, start, budget=60, seed=0)
    assert float(result.x @ result.x) == result.loss
    assert start.tolist() == [3, 4]


def test_later_stages_of_auto_are_checked_at_the_start_and_end_within_the_budget() -> None:
    with pytest.raises(OptimizerError, match="cannot be read"):
        create("auto:stages=cobyqa*0+cma", 3, budget=50, seed=0)
    with pytest.raises(OptimizerError, match="nothing"):
        create("auto:stages=cobyqa*10+nothing", 3, budget=50, seed=0)
    # What the last stage is left with is less than one of its generations.
    optimizer = create("auto:stages=cobyqa*10+cma", 3, budget=13, seed=0)
    while not optimizer.stop:
        candidates = optimizer.ask()[: optimizer.remaining]
        optimizer.tell(candidates, (candidates**2).sum(axis=1))
    assert optimizer.evaluations == 13
