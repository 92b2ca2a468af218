"""Searches of choices: genetic, hill-climb, and nevergrad's."""

from __future__ import annotations

import numpy as np
import pytest

from craft_zoo.optimizers import Optimizer, OptimizerError, create, restore
from craft_zoo.optimizers.nevergrad import _digits

CHOICES = np.array([4, 9, 9, 9, 3])
SECRET = np.array([3, 7, 0, 5, 1])
SPECS = ("genetic", "hill-climb", "nevergrad:DiscreteOnePlusOne")


def make(spec: str, budget: int = 400, seed: int = 1) -> Optimizer:
    optimizer = create(spec, len(CHOICES), budget=budget, seed=seed)
    optimizer.choices = CHOICES
    return optimizer


def run(optimizer: Optimizer, generations: int = 10**6) -> list[np.ndarray]:
    asked: list[np.ndarray] = []
    while not optimizer.stop and len(asked) < generations:
        candidates = optimizer.ask()
        optimizer.tell(candidates, (candidates != SECRET).sum(axis=1))
        asked.append(candidates)
    return asked


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_wanted_is_found_among_8748(spec: str) -> None:
    """Random search finds it in 400 with a chance of 5 %."""
    found = 0
    for seed in (1, 2, 3):
        optimizer = make(spec, seed=seed)
        asked = np.concatenate(run(optimizer))
        assert np.array_equal(asked, asked.astype(int))
        assert (asked >= 0).all()
        assert (asked < CHOICES).all()
        found += np.array_equal(optimizer.recommend(), SECRET)
    assert found >= 2


@pytest.mark.parametrize("spec", ["genetic", "hill-climb"])
def test_the_origin_comes_first_and_nothing_twice(spec: str) -> None:
    asked = np.concatenate(run(make(spec, 300)))
    assert not asked[0].any()
    assert len(np.unique(asked, axis=0)) == 300


@pytest.mark.parametrize("spec", ["genetic", "hill-climb"])
def test_the_end_of_all_combinations_is_the_end(spec: str) -> None:
    optimizer = create(spec, 2, budget=100, seed=1)
    optimizer.choices = np.array([3, 5])
    asked = []
    while not optimizer.stop:
        asked.append(optimizer.ask())
        optimizer.tell(asked[-1], np.arange(len(asked[-1])))
    assert optimizer.stop == "all combinations were tried"
    assert len(np.concatenate(asked)) == 15


def test_hill_climb_changes_one_coordinate_until_that_is_in_vain() -> None:
    optimizer = create("hill-climb:popsize=10,patience=20", 6, budget=60, seed=1)
    optimizer.choices = np.full(6, 50)
    changed = []
    while not optimizer.stop:
        candidates = optimizer.ask()
        changed.append(int((candidates != 0).sum(axis=1).max()))
        optimizer.tell(candidates, (candidates != 0).sum(axis=1))  # the origin is best
    assert changed == [1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("spec", SPECS)
def test_a_search_of_choices_is_restored(spec: str) -> None:
    whole, half = make(spec), make(spec)
    before = len(run(half, 5))
    rest = run(restore(half.state()))
    everything = run(whole)
    assert np.array_equal(np.concatenate(everything[before:]), np.concatenate(rest))


def test_misuse_is_explained() -> None:
    with pytest.raises(OptimizerError, match="'genetic' searches choices and no numbers"):
        create("genetic", 3, budget=10, seed=1).ask()
    continuous = create("random", 3, budget=10, seed=1)
    continuous.choices = np.array([2, 2, 2])
    with pytest.raises(OptimizerError, match="'random' searches numbers and no choices: use gen"):
        continuous.ask()
    few = create("genetic", 3, budget=10, seed=1)
    few.choices = np.array([2, 2])
    with pytest.raises(OptimizerError, match="do not fit 3 dimensions"):
        few.ask()


@pytest.mark.parametrize("count", [*range(1, 30), 144, 145, 1096, 1728, 1729])
def test_nevergrads_digits_tell_all_choices_apart(count: int) -> None:
    base, k = _digits(count)
    assert base <= 12
    assert base**k >= count
    assert count == 1 or base ** (k - 1) < count
