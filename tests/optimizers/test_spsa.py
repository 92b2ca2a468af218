"""Calibration of SPSA."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from craft_zoo.optimizers import SPSA, create


def search(noise: float, c: float = 0.01, seed: int = 1) -> SPSA:
    """The optimizer after a search on a sphere with noise of the given standard deviation."""
    rng = np.random.default_rng(seed)
    optimizer = SPSA(10, budget=2000, seed=seed, c=c)
    while not optimizer.stop:
        candidates = optimizer.ask()
        losses = ((candidates - 0.7) ** 2).sum(axis=1)
        optimizer.tell(candidates, losses + noise * rng.standard_normal(len(losses)))
    return optimizer


def test_noise_enlarges_c_until_pairs_differ() -> None:
    assert search(0).c == 0.01
    assert search(0.001).c == 0.01
    assert 0.02 <= search(0.05).c < 0.1
    assert search(10.0).c == 0.1


def test_with_noise_it_still_comes_closer() -> None:
    start = 10 * 0.7**2
    ends = [((search(0.1, seed=seed).recommend() - 0.7) ** 2).sum() for seed in range(5)]
    assert np.median(ends) < 0.1 * start


def test_a_first_step_moves_coordinates_by_about_step_whatever_the_scale() -> None:
    for scale in (1e-6, 1.0, 1e6):
        optimizer = SPSA(50, budget=2000, seed=1, step=0.2)
        candidates = optimizer.ask()
        optimizer.tell(candidates, scale * (candidates @ np.linspace(-1, 1, 50)))
        # The mean over 10 directions is shorter than one of them by sqrt(10), about.
        moved = np.abs(optimizer.ask().mean(axis=0)).mean()
        assert 0.02 < moved < 0.2


def test_a_flat_start_is_calibrated_later() -> None:
    optimizer = SPSA(5, budget=400, seed=1)
    while not optimizer.stop:
        candidates = optimizer.ask()
        flat = optimizer.evaluations < 60
        losses = ((candidates - 0.7) ** 2).sum(axis=1)
        optimizer.tell(candidates, np.zeros(len(losses)) if flat else losses)
    assert ((optimizer.recommend() - 0.7) ** 2).sum() < 0.1


def test_the_first_step_stays_within_the_bound() -> None:
    optimizer = SPSA(5, budget=400, seed=1, step=0.3, bound=0.01)
    candidates = optimizer.ask()
    optimizer.tell(candidates, ((candidates - 0.7) ** 2).sum(axis=1))
    assert 0 < np.abs(optimizer._z).max() <= 0.01


def test_pairs_with_a_failed_evaluation_give_no_step() -> None:
    optimizer = SPSA(5, budget=400, seed=1)
    optimizer.tell(candidates := optimizer.ask(), ((candidates - 0.7) ** 2).sum(axis=1))
    before = optimizer._z.copy()
    optimizer.tell(optimizer.ask(), [np.nan, 1.0])
    assert np.array_equal(optimizer._z, before)
    optimizer.tell(candidates := optimizer.ask(), ((candidates - 0.7) ** 2).sum(axis=1))
    assert not np.array_equal(optimizer._z, before)


def rosenbrock(z: np.ndarray) -> np.ndarray:
    return (100 * (z[:, 1:] - z[:, :-1] ** 2) ** 2 + (1 - z[:, :-1]) ** 2).sum(axis=1)


@pytest.mark.parametrize("spec", ["spsa", "spsa-gc", "spsa-clip", "zo-adam"])
@pytest.mark.parametrize("f", [rosenbrock, lambda z: ((z - 0.7) ** 2).sum(axis=1)])
def test_the_best_candidate_may_be_recommended_which_is_no_worse_than_the_start(
    spec: str, f: Callable[[np.ndarray], np.ndarray]
) -> None:
    ends = {}
    for recommends in ("last", "best"):
        optimizer = create(f"{spec}:recommends={recommends}", 60, budget=400, seed=1)
        while not optimizer.stop:
            candidates = optimizer.ask()
            optimizer.tell(candidates, f(candidates))
        ends[recommends] = f(optimizer.recommend()[None])[0]
    assert ends["best"] == optimizer.best.loss <= f(np.zeros((1, 60)))[0]
    assert ends["best"] < 1.2 * ends["last"]
