"""Searches of categorical variables: genetic, hill-climb, and nevergrad's."""

from __future__ import annotations

import numpy as np
import pytest

from craft_zoo.optimizers import (
    Choice,
    Optimizer,
    OptimizerError,
    OutputLoss,
    Space,
    create,
    minimize,
    restore,
)
from craft_zoo.optimizers.nevergrad import _digits

CHOICES = np.array([4, 9, 9, 9, 3])
SECRET = np.array([3, 7, 0, 5, 1])
SPECS = ("genetic", "hill-climb", "nevergrad:DiscreteOnePlusOne")


def make(spec: str, budget: int = 400, seed: int = 1) -> Optimizer:
    return create(spec, Space(len(CHOICES), choices=CHOICES), budget=budget, seed=seed)


def run(
    optimizer: Optimizer, generations: int = 10**6, *, until_found: bool = False
) -> list[np.ndarray]:
    asked: list[np.ndarray] = []
    while not optimizer.stop and len(asked) < generations:
        candidates = optimizer.ask()
        optimizer.tell(candidates, (candidates != SECRET).sum(axis=1))
        asked.append(candidates)
        if until_found and (candidates == SECRET).all(axis=1).any():
            break
    return asked


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_wanted_is_found_among_8748(spec: str) -> None:
    """Random search finds it in 400 with a chance of 5 %; nevergrad takes 10 ms a candidate."""
    found = 0
    for seed in (1,) if spec.startswith("nevergrad") else (1, 2, 3):
        optimizer = make(spec, seed=seed)
        asked = np.concatenate(run(optimizer, until_found=True))
        assert np.array_equal(asked, asked.astype(int))
        assert (asked >= 0).all()
        assert (asked < CHOICES).all()
        found += np.array_equal(optimizer.recommend(), SECRET)
    assert found >= (1 if spec.startswith("nevergrad") else 2)


@pytest.mark.parametrize("spec", ["genetic", "hill-climb"])
def test_the_origin_comes_first_and_nothing_twice(spec: str) -> None:
    asked = np.concatenate(run(make(spec, 300)))
    assert not asked[0].any()
    assert len(np.unique(asked, axis=0)) == 300


@pytest.mark.parametrize("spec", ["genetic", "hill-climb"])
def test_the_end_of_all_combinations_is_the_end(spec: str) -> None:
    optimizer = create(spec, Space(2, choices=[3, 5]), budget=100, seed=1)
    asked = []
    while not optimizer.stop:
        asked.append(optimizer.ask())
        optimizer.tell(asked[-1], np.arange(len(asked[-1])))
    assert optimizer.stop == "all combinations were tried"
    assert len(np.concatenate(asked)) == 15


def test_hill_climb_changes_one_coordinate_until_that_is_in_vain() -> None:
    space = Space(6, choices=np.full(6, 50))
    optimizer = create("hill-climb:popsize=10,patience=20", space, budget=60, seed=1)
    changed = []
    while not optimizer.stop:
        candidates = optimizer.ask()
        changed.append(int((candidates != 0).sum(axis=1).max()))
        optimizer.tell(candidates, (candidates != 0).sum(axis=1))  # the origin is best
    assert changed == [1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("spec", SPECS)
def test_a_search_of_choices_is_restored(spec: str) -> None:
    whole, half = make(spec, 90), make(spec, 90)
    before = len(run(half, 2))
    rest = run(restore(half.state()))
    everything = run(whole)
    assert np.array_equal(np.concatenate(everything[before:]), np.concatenate(rest))


def test_misuse_is_explained() -> None:
    with pytest.raises(OptimizerError, match="'genetic' searches categorical choices"):
        create("genetic", 3, budget=10, seed=1)
    with pytest.raises(OptimizerError, match="'random' searches numbers, not categorical"):
        create("random", Space(3, choices=[2, 2, 2]), budget=10, seed=1)


@pytest.mark.parametrize("count", [*range(1, 30), 144, 145, 1096, 1728, 1729])
def test_nevergrads_digits_tell_all_choices_apart(count: int) -> None:
    base, k = _digits(count)
    assert base <= 12
    assert base**k >= count
    assert count == 1 or base ** (k - 1) < count


def separable(blocks: int, choices: int, images: int = 60) -> tuple[np.ndarray, OutputLoss]:
    """Logits of each block's alternatives, (B, choices, N), and the loss of an assembly (N, B)."""
    rng = np.random.default_rng(3)
    labels = np.arange(images) % blocks

    def loss(outputs: np.ndarray) -> tuple[float, np.ndarray]:
        shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        rows = np.arange(images)
        value = -np.log(shares[rows, labels]).mean()
        shares[rows, labels] -= 1
        return float(value), shares / images

    return rng.standard_normal((blocks, choices, images)), loss


def search(optimizer: Optimizer, table: np.ndarray, loss: OutputLoss, *, coupled: bool) -> float:
    """Run a search, and check that the recommended point never gets worse."""
    optimizer.output_loss = loss
    blocks, best = np.arange(len(table)), np.inf

    def outputs(candidate: np.ndarray) -> np.ndarray:
        logits = table[blocks, candidate.astype(int)].T
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)) if coupled else logits

    while not optimizer.stop:
        candidates = optimizer.ask()
        answers = [outputs(each) for each in candidates]
        optimizer.tell(candidates, [loss(each)[0] for each in answers], answers)
        now = loss(outputs(optimizer.recommend()))[0]
        assert now <= best + 1e-6
        best = now
    return best


@pytest.mark.parametrize("coupled", [False, True])
def test_columns_puts_together_what_it_has_seen(coupled: bool) -> None:
    """Eight choices of 20 each are as good as found after some 60 candidates; and where outputs are
    probabilities' logarithms, so that columns are not alone in the world, it is misled by none."""
    table, loss = separable(8, 20)
    ends = {}
    for spec in ("columns", "hill-climb", "genetic"):
        optimizer = create(spec, Space(8, blocks=8, choices=[20] * 8), budget=60, seed=1)
        ends[spec] = search(optimizer, table, loss, coupled=coupled)
    assert ends["columns"] < min(ends["hill-climb"], ends["genetic"]) - (0 if coupled else 0.3)


def test_a_search_of_columns_is_restored_between_ask_and_tell() -> None:
    table, loss = separable(5, 12)

    def make() -> Optimizer:
        space = Space(5, blocks=5, choices=[12] * 5)
        return create("columns:popsize=4,pool=6", space, budget=60, seed=1)

    def step(optimizer: Optimizer) -> np.ndarray:
        optimizer.output_loss = loss
        candidates = optimizer.ask()
        answers = [table[np.arange(5), each.astype(int)].T for each in candidates]
        optimizer.tell(candidates, [loss(each)[0] for each in answers], answers)
        return candidates

    whole, half = make(), make()
    expected = [step(whole) for _ in range(15)]
    for _ in range(6):
        step(half)
    half.ask()  # asked for again by what is restored
    rest = restore(half.state())
    assert np.array_equal(
        np.concatenate(expected[6:]), np.concatenate([step(rest) for _ in range(9)])
    )


@pytest.mark.parametrize("name", ["auto", "genetic", "hill-climb"])
@pytest.mark.parametrize("workers", [1, 3, 20])
def test_with_workers_all_combinations_are_tried(name: str, workers: int) -> None:
    space = {"a": Choice(list(range(6))), "b": Choice([0, 1])}
    tried = []

    def loss(point: dict[str, int]) -> float:
        tried.append((point["a"], point["b"]))
        return 10.0 - point["a"] - point["b"]

    found = minimize(loss, space=space, budget=100, optimizer=name, workers=workers, seed=1)
    assert len(set(tried)) == 12
    assert len(tried) == 12
    assert (found.x, found.reason) == ({"a": 5, "b": 1}, "all combinations were tried")
