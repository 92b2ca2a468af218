"""Convergence of pycma, and restarts after it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.optimizers import Optimizer, create
from craft_zoo.optimizers.restarts import Restarts


def rastrigin(z: np.ndarray) -> np.ndarray:
    x = 3 * (z - 0.7)
    return (10 + x**2 - 10 * np.cos(2 * np.pi * x)).sum(axis=1)


@cache
def minimise(spec: str, budget: int, dim: int = 4, seed: int = 1) -> tuple[Optimizer, list[int]]:
    """The optimizer after a search on Rastrigin's function, and the sizes of its generations."""
    optimizer, sizes = create(spec, dim, budget=budget, seed=seed), []
    while not optimizer.stop:
        candidates = optimizer.ask()
        optimizer.tell(candidates, rastrigin(candidates))
        sizes.append(len(candidates))
    return optimizer, sizes


def test_without_restarts_it_stops_when_pycma_has_converged() -> None:
    optimizer, _ = minimise("cma:popsize=8", 20_000)
    assert "pycma has converged: tol" in str(optimizer.stop)
    assert optimizer.evaluations < 5_000


def test_ipop_doubles_the_population_and_uses_the_budget() -> None:
    _, sizes = minimise("cma:popsize=8,restarts=ipop", 20_000)
    assert sum(sizes) == 20_000
    assert list(dict.fromkeys(sizes[:-1]))[:4] == [8, 16, 32, 64]


def test_bipop_takes_turns_within_the_budget() -> None:
    _, sizes = minimise("cma:popsize=8,restarts=bipop", 20_000)
    assert sum(sizes) == 20_000
    in_order = [size for i, size in enumerate(sizes[:-1]) if i == 0 or sizes[i - 1] != size]
    assert in_order != sorted(in_order)
    assert {8, 16, 32} <= set(in_order)


@pytest.mark.slow
def test_restarts_help_where_there_are_many_optima() -> None:
    ends = {
        policy: np.median(
            [
                rastrigin(optimizer.recommend()[None])[0]
                for seed in (1, 2)
                for optimizer, _ in [minimise(f"cma:popsize=8,restarts={policy}", 20_000, 4, seed)]
            ]
        )
        for policy in ("none", "ipop", "bipop")
    }
    assert ends["ipop"] < 1e-6 < 0.5 < ends["none"]
    assert ends["bipop"] < 1e-6


def test_after_restarts_the_best_run_is_recommended() -> None:
    optimizer, best = create("cma:popsize=6,restarts=ipop", 3, budget=6_000, seed=2), np.inf
    while not optimizer.stop:
        candidates = optimizer.ask()
        losses = rastrigin(candidates)
        best = min(best, losses.min())
        optimizer.tell(candidates, losses)
    assert rastrigin(optimizer.recommend()[None])[0] == pytest.approx(best, abs=1e-6)


def test_a_generation_that_failed_is_no_convergence() -> None:
    optimizer = create("cma:popsize=8", 3, budget=800, seed=1)
    for _ in range(4):
        candidates = optimizer.ask()
        optimizer.tell(candidates, np.full(8, np.nan))
    assert not optimizer.stop


@given(
    policy=st.sampled_from(["ipop", "bipop"]),
    popsize=st.integers(4, 50),
    runs=st.lists(st.integers(1, 3000), max_size=15),
    seed=st.integers(0, 99),
)
def test_populations_fit_into_what_is_left(
    policy: str, popsize: int, runs: list[int], seed: int
) -> None:
    restarts = Restarts(policy, popsize, 1.0, np.random.default_rng(seed))  # type: ignore[arg-type]
    remaining, largest = 20_000, popsize
    for evaluations in runs:
        restarts.count(evaluations)
        remaining = max(0, remaining - evaluations)
        size, sigma = restarts.next(remaining)
        assert popsize <= size <= max(largest, 2 * largest if 20 * largest <= remaining else 0)
        assert 0.01 <= sigma <= 1
        largest = max(largest, size)


@pytest.mark.parametrize("spec", ["vkd-cma", "lm-ma-es", "sep-cma"])
def test_a_thousand_variables(spec: str) -> None:
    optimizer, start = create(spec, 1000, budget=5_000, seed=1), 1000 * 0.49
    while not optimizer.stop:
        candidates = optimizer.ask()
        optimizer.tell(candidates, ((candidates - 0.7) ** 2).sum(axis=1))
    assert ((optimizer.recommend() - 0.7) ** 2).sum() < 0.5 * start
