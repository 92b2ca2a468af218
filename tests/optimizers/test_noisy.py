"""Searches of noisy functions: minimize(noisy=True), the fitted minimum, cma:noise=true."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from craft_zoo.optimizers import Choice, Integer, OptimizerError, create, maximize, minimize
from craft_zoo.optimizers.quadratic import fitted_minimum

SPEC = "cma:popsize=20"


def sphere(x: np.ndarray) -> float:
    return float(((x - 0.5) ** 2).sum())


def noisy(f: Callable[[np.ndarray], float], seed: int, size: float = 0.5) -> Any:
    rng = np.random.default_rng(seed)
    return lambda x: f(x) + size * rng.standard_normal()


def test_the_mean_of_repeated_evaluations_decides() -> None:
    true, lucky = [], []
    for seed in range(3):
        f = noisy(sphere, seed)
        result = minimize(f, [0.0] * 4, budget=400, optimizer=SPEC, noisy=True, seed=seed)
        assert (result.evaluations, result.reason) == (400, "the budget of 400 is spent")
        assert 0.3 < result.noise < 0.7
        assert f"noise        {result.noise:.3g}" in repr(result)
        assert "(mean of 10, standard error" in repr(result)
        assert result.loss > result.history["loss"].min()
        assert abs(result.loss - sphere(result.x)) < 4 * 0.5 / math.sqrt(10)
        true.append(sphere(result.x))
        found = minimize(noisy(sphere, seed), [0.0] * 4, budget=400, optimizer=SPEC, seed=seed)
        lucky.append(sphere(found.x))
    assert np.mean(true) < 0.3 * np.mean(lucky)


def test_maximize_and_choices_compare_means_too() -> None:
    result = maximize(lambda x: -sphere(x), [0.0] * 2, budget=300, noisy=True, seed=1)
    assert result.noise == 0
    assert -1e-3 < result.loss == pytest.approx(-sphere(result.x))
    space = {"a": Choice([1, 2, 3]), "b": Choice([5, 6])}
    rng = np.random.default_rng(1)
    found = minimize(
        lambda p: p["a"] + p["b"] + rng.normal(), space=space, budget=200, noisy=True, seed=1
    )
    assert set(found.x) == {"a", "b"}
    assert 0.6 < found.noise < 1.5


def test_a_rounded_point_is_not_compared_with_itself() -> None:
    for seed in range(4):
        rng, calls = np.random.default_rng(seed), list[tuple[int, float]]()

        def loss(x: list[int]) -> float:
            calls.append((x[0], x[0] ** 2 + rng.normal()))  # noqa: B023
            return calls[-1][1]  # noqa: B023

        found = minimize(loss, space=[Integer(-2, 3)], budget=200, noisy=True, seed=seed)
        repeated = [value for x, value in calls[-20:] if x == found.x[0]]
        assert found.loss == pytest.approx(np.mean(repeated))


def test_all_combinations_of_choices_are_compared_with_what_is_left() -> None:
    space = {"a": Choice(list(range(6))), "b": Choice([0, 1])}

    def loss(p: dict[str, int]) -> float:
        return abs(p["a"] - 4) / 5 + p["b"]

    rng = np.random.default_rng(1)
    made = [
        minimize(
            lambda p: loss(p) + 0.3 * rng.standard_normal(),
            space=space,
            budget=150,
            noisy=True,
            seed=seed,
        )
        for seed in range(10)
    ]
    assert [found.evaluations for found in made] == 10 * [150]
    assert np.mean([loss(found.x) for found in made]) < 0.06  # 0.12 where each is tried once
    more = made[0].extend(100)
    assert more.evaluations == 250
    few = minimize(lambda p: float(p["a"]), space={"a": space["a"]}, budget=300, noisy=True, seed=1)
    assert (few.evaluations, few.x, few.noise) == (6 + 15 * 6, {"a": 0}, 0)


def test_a_comparison_that_was_interrupted_goes_on() -> None:
    calls = 0
    inner = noisy(sphere, 1)

    def f(x: np.ndarray) -> float:
        nonlocal calls
        calls += 1
        if calls == 191:
            raise ConnectionError
        return float(inner(x))

    with pytest.raises(ConnectionError) as caught:
        minimize(f, [0.0] * 3, budget=200, optimizer=SPEC, noisy=True, seed=1)
    result = caught.value.result  # type: ignore[attr-defined]
    assert (result.evaluations, math.isnan(result.noise)) == (190, True)
    assert result.extend().evaluations == 200
    before = result.loss
    assert result.extend(300).evaluations == 500
    assert result.noise > 0
    assert result.loss != before


def test_small_extensions_are_compared_together() -> None:
    """An extension below 30 has too small a share for a comparison; several have one."""
    result = minimize(noisy(sphere, 1), [0.0] * 3, budget=60, optimizer=SPEC, noisy=True, seed=1)
    before = result.loss
    assert result.extend(20).loss == before
    assert result.extend(20).loss != before
    assert result.evaluations == 100


def test_a_target_ends_the_search_but_not_the_comparison() -> None:
    result = minimize(
        noisy(sphere, 1), [0.0] * 3, budget=300, optimizer=SPEC, noisy=True, seed=1, target=-0.3
    )
    assert result.reason == "the target of -0.3 is reached"
    assert result.evaluations < 300
    assert result.history["loss"].min() <= -0.3 < result.loss


@pytest.mark.parametrize("d", [1, 3, 30])
def test_the_minimum_of_a_quadratic_function_is_found(d: int) -> None:
    rng = np.random.default_rng(d)
    goal = 0.3 * rng.standard_normal(d)
    points = rng.standard_normal((160, d))  # of 30 variables: enough for no mixed terms
    losses = ((points - goal) ** 2 * np.arange(1, d + 1)).sum(axis=1)
    losses[-5:] = np.nan
    found = fitted_minimum(points, losses, np.zeros(d))
    assert found is not None
    assert np.abs(found - goal).max() < 0.05
    assert fitted_minimum(points[:4], losses[:4], np.zeros(d)) is None
    assert fitted_minimum(np.ones((160, d)), losses, np.zeros(d)) is None


def test_a_fitted_minimum_stays_within_the_spread_of_the_points() -> None:
    points = np.random.default_rng(1).standard_normal((100, 2))
    found = fitted_minimum(points, -((points - 1) ** 2).sum(axis=1), np.zeros(2))
    assert found is not None
    assert np.linalg.norm(found) == pytest.approx(math.sqrt(2), rel=0.3)


def test_cma_evaluates_the_first_candidates_again_and_more_often_where_noise_rules() -> None:
    calm, wild = (create("cma:popsize=8,noise=true", 3, budget=900, seed=1) for _ in range(2))
    rng = np.random.default_rng(1)
    while not (calm.stop or wild.stop):
        for optimizer in (calm, wild):
            rows = optimizer.ask()
            if optimizer is calm and optimizer.remaining > 10:
                assert np.array_equal(rows[8:], rows[:2])
            noise = 10 * rng.standard_normal(len(rows)) * (optimizer is wild)
            optimizer.tell(rows, [sphere(z) + each for z, each in zip(rows, noise, strict=True)])
    assert calm.best.loss < 1e-3
    assert len(wild._ask()) >= 2 * 10  # type: ignore[attr-defined]
    with pytest.raises(OptimizerError, match="'noise' of 'cma' cannot be used with restarts"):
        create("cma:noise=true,restarts=ipop", 3, budget=900, seed=1)


def test_auto_recommends_of_noisy_losses_what_its_last_stage_does() -> None:
    optimizer, f = create("auto", 3, budget=300, seed=1, noisy=True), noisy(sphere, 1)
    while not optimizer.stop:
        z = optimizer.ask()
        optimizer.tell(z, [f(each) for each in z])
    assert not np.array_equal(optimizer.recommend(), optimizer.best.point)
    assert sphere(optimizer.recommend()) < sphere(optimizer.best.point)
