"""Rules of ask, tell, stop and recommend that every optimizer inherits."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo.optimizers import (
    Optimizer,
    OptimizerError,
    Outputs,
    Space,
    create,
    names,
    options,
    restore,
    searches,
)
from craft_zoo.optimizers.base import _FAILED

OWN = sorted(set(names()) - {"nevergrad"})


def space(spec: str, dim: int, values: int) -> Space:
    """A space that the optimizer can search: choices of ``values``, if it searches only these."""
    return Space(dim, choices=None if searches(spec, choices=False) else [values] * dim)


class Spy(Optimizer):
    """Asks for four candidates and records what it is told."""

    def __init__(self, dim: int, *, budget: int, seed: int) -> None:
        super().__init__(dim, budget=budget, seed=seed)
        self.told: list[list[float]] = []

    def _ask(self) -> np.ndarray:
        return self.rng.standard_normal((4, self.dim))

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        self.told.append(losses.tolist())

    def recommend(self) -> np.ndarray:
        return np.zeros(self.dim)


def test_bad_losses_count_as_worse_than_all_told_so_far_by_their_range() -> None:
    spy = Spy(2, budget=100, seed=1)
    spy.tell(spy.ask()[:2], [np.nan, -np.inf])
    spy.tell(spy.ask(), [1.0, np.nan, 3.0, -np.inf])
    assert spy.failed.tolist() == [False, True, False, True]
    spy.tell(spy.ask()[:1], [2.0])
    spy.tell(spy.ask()[:2], [np.nan, np.inf])
    assert spy.told == [[_FAILED, _FAILED], [1.0, 5.0, 3.0, 5.0], [2.0], [5.0, 5.0]]


@given(st.lists(st.floats(width=64), min_size=1, max_size=12))
def test_a_failed_evaluation_is_above_every_loss_told_so_far(losses: list[float]) -> None:
    spy = Spy(2, budget=100, seed=1)
    for loss in losses:
        spy.tell(spy.ask()[:1], [loss])
    told = np.array(spy.told)[:, 0]
    assert np.isfinite(told**2).all()
    for i in np.flatnonzero(~np.isfinite(losses)):
        before = told[:i][np.isfinite(losses[:i])]
        assert (told[i] > before).all()


FAMILIES = [*OWN, "cma:popsize=6,restarts=bipop", "nevergrad:OnePlusOne", "nevergrad:TwoPointsDE"]


def scaled_sphere(optimizer: Optimizer, points: np.ndarray, scale: float) -> np.ndarray:
    goal = 1.0 if optimizer.needs_choices else 0.7
    return scale * ((points - goal) ** 2).sum(axis=1)


@settings(max_examples=60, deadline=None)
@given(
    spec=st.sampled_from(FAMILIES),
    dim=st.sampled_from([1, 2, 3, 4, 5, 7, 10, 30, 100, 300]),
    budget=st.integers(40, 120),
    first=st.booleans(),
    share=st.sampled_from([0.0, 0.2, 0.6]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 5),
)
def test_no_failed_point_is_recommended_in_any_dimension(
    spec: str, dim: int, budget: int, first: bool, share: float, scale: float, seed: int
) -> None:
    optimizer = create(spec, space(spec, dim, 3), budget=budget, seed=seed)
    rng = np.random.default_rng(seed)
    optimizer.output_loss = lambda outputs: (float(outputs @ outputs), 2 * outputs)
    failed, good = set(), set()
    while not optimizer.stop:
        candidates = optimizer.ask()
        losses = scaled_sphere(optimizer, candidates, scale)
        bad = rng.random(len(losses)) < share
        bad |= first and not optimizer.evaluations
        losses[bad] = rng.choice([np.nan, np.inf, -np.inf], bad.sum())
        outputs = np.sqrt(scale) * (candidates - 0.7)
        optimizer.tell(candidates, losses, list(outputs))
        failed |= {each.tobytes() for each in candidates[bad]}
        good |= {each.tobytes() for each in candidates[~bad]}
        recommended = optimizer.recommend()
        assert np.isfinite(recommended).all()
        assert np.abs(recommended).max() < 100
        assert not recommended.any() or recommended.tobytes() not in failed - good
    if optimizer._made_from is not None and not optimizer.snapshots:
        assert np.array_equal(restore(optimizer.state()).recommend(), optimizer.recommend())


@settings(max_examples=40, deadline=None)
@given(
    spec=st.sampled_from(["spsa", "spsa-gc", "spsa-clip", "zo-adam"]),
    dim=st.sampled_from([1, 2, 5, 20, 100, 512, 2048]),
    budget=st.sampled_from([10, 24, 50, 101, 300]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    condition=st.sampled_from([1.0, 100.0]),
    seed=st.integers(0, 5),
)
def test_what_follows_gradients_never_ends_worse_than_the_start(
    spec: str, dim: int, budget: int, scale: float, condition: float, seed: int
) -> None:
    optimizer = create(spec, dim, budget=budget, seed=seed)
    weights = scale * condition ** (np.arange(dim) / max(1, dim - 1))
    while not optimizer.stop:
        candidates = optimizer.ask()
        optimizer.tell(candidates, (candidates - 0.7) ** 2 @ weights)
    assert (optimizer.recommend() - 0.7) ** 2 @ weights <= 0.49 * weights.sum() * (1 + 1e-9)


@pytest.mark.parametrize("spec", FAMILIES)
def test_numpys_numbers_are_as_good_as_pythons(spec: str) -> None:
    name = spec.partition(":")[0]
    kinds = {int: np.int64, float: np.float64, bool: np.bool_}
    values = {each.name: each.default for each in options(name)}
    numpys = {
        key: kinds[type(value)](value) if type(value) in kinds else value
        for key, value in values.items()
    }
    plain = space(spec, 5, 4)
    choices = None if plain.choices is None else np.array(plain.choices, dtype=np.int32)
    numpy = Space(np.int64(5), blocks=np.int64(1), choices=choices)
    first = create(spec, plain, budget=100, seed=3, **values)
    second = create(spec, numpy, budget=np.prod([10, 10]), seed=np.array(3), **numpys)
    asked = []
    for optimizer in (first, second):
        optimizer.output_loss = lambda outputs: (float(outputs @ outputs), 2 * outputs)
        candidates = optimizer.ask()
        optimizer.tell(candidates, (candidates**2).sum(axis=1), list(candidates))
        restored = restore(optimizer.state())
        restored.output_loss = optimizer.output_loss
        asked.append(restored.ask())
    assert np.array_equal(*asked)


@pytest.mark.parametrize("value", [True, np.True_, np.float64(3), np.array([3]), "3"])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    for given_as, name in (("space", "dim"), ("budget", "budget"), ("seed", "seed")):
        sizes = {"space": 3, "budget": 100, "seed": 1} | {given_as: value}
        with pytest.raises(OptimizerError, match=f"{name} must be a whole number, at least"):
            create("random", **sizes)


def test_a_failed_evaluation_alone_in_its_generation_is_no_success() -> None:
    optimizer = create("nevergrad:OnePlusOne", 3, budget=60, seed=1)
    failed = []
    while not optimizer.stop:
        candidates = optimizer.ask()
        loss = ((candidates - 3) ** 2).sum()
        if optimizer.evaluations % 3 == 2:
            loss, failed = np.nan, [*failed, candidates[0]]
        optimizer.tell(candidates, [loss])
        assert not any(np.array_equal(optimizer.recommend(), z) for z in failed)


def test_the_last_generation_is_cut_to_the_budget() -> None:
    spy, sizes = Spy(2, budget=10, seed=1), []
    while not spy.stop:
        candidates = spy.ask()
        sizes.append(len(candidates))
        spy.tell(candidates, np.ones(len(candidates)))
    assert sizes == [4, 4, 2]
    assert spy.stop == "the budget of 10 is spent"
    assert (spy.evaluations, spy.remaining) == (10, 0)
    with pytest.raises(OptimizerError, match=r"has ended \(the budget of 10 is spent\)"):
        spy.ask()


@settings(max_examples=40, deadline=None)
@given(
    spec=st.sampled_from(OWN),
    budget=st.integers(40, 160),  # 40: one generation of cma; the kit tries smaller ones
    dim=st.integers(1, 6),
    data=st.data(),
)
def test_any_losses_and_any_cuts_use_the_budget_and_leave_finite_points(
    spec: str, budget: int, dim: int, data: st.DataObject
) -> None:
    optimizer = create(spec, space(spec, dim, 7), budget=budget, seed=1)
    losses = st.floats(allow_nan=True, allow_infinity=True, width=32)
    used = 0
    while not optimizer.stop:
        candidates = optimizer.ask()
        assert candidates.dtype == np.float64
        assert candidates.shape == (len(candidates), dim)
        candidates = candidates[: data.draw(st.integers(1, len(candidates)))]
        n = len(candidates)
        told = data.draw(st.lists(losses, min_size=n, max_size=n))
        optimizer.output_loss = lambda outputs: (float(outputs.sum()), np.ones_like(outputs))
        optimizer.tell(candidates, told, [np.array([value]) for value in told])
        used += n
        assert np.isfinite(optimizer.recommend()).all()
    assert used == optimizer.evaluations
    assert used == budget or "converged" in optimizer.stop or "all combinations" in optimizer.stop


def test_misuse_is_explained() -> None:
    optimizer = create("cma", 3, budget=100, seed=1)
    with pytest.raises(OptimizerError, match="tell was called before ask"):
        optimizer.tell(np.zeros((1, 3)), [0.0])
    candidates = optimizer.ask()
    assert optimizer.ask() is candidates
    twice = candidates[[0, 1, 1]]
    for wrong in (np.zeros((2, 4)), twice, candidates[:0], candidates + 1e-9):
        with pytest.raises(OptimizerError, match="pass what ask returned"):
            optimizer.tell(wrong, np.zeros(len(wrong)))
    with pytest.raises(OptimizerError, match="give one number each"):
        optimizer.tell(candidates, [0.0])
    with pytest.raises(OptimizerError, match="give one array each"):
        optimizer.tell(candidates, np.zeros(40), [np.zeros(2)])
    optimizer.tell(candidates, np.zeros(40))


@pytest.mark.parametrize(
    ("dim", "budget", "seed"),
    [(0, 10, 1), (3, 0, 1), (2.5, 10, 1), (3, 10.5, 1), (3, 1e3, 1), (3, 10, None), (3, 10, -1)],
)
def test_bad_sizes(dim: int, budget: int, seed: int) -> None:
    with pytest.raises(OptimizerError, match="must be a whole number, at least"):
        create("spsa", dim, budget=budget, seed=seed)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (np.zeros(2), r"shape \(2,\): its _ask must return \(λ, 2\)"),
        (np.zeros((3, 4)), r"shape \(3, 4\)"),
        (np.zeros((0, 2)), "λ of at least 1"),
        (np.full((1, 2), np.nan), "not finite: its search has diverged"),
        ([[1.0, 2.0], [3.0]], r"asked for \[\[1.0, 2.0\], \[3.0\]\]: its _ask must return numbers"),
    ],
)
def test_a_wrong_ask_is_noticed_before_it_is_paid_for(asked: Any, message: str) -> None:
    class Wrong(Spy):
        """Asks for an invalid array."""

        def _ask(self) -> np.ndarray:
            return asked  # type: ignore[no-any-return]

    with pytest.raises(OptimizerError, match=message):
        Wrong(2, budget=9, seed=1).ask()


def test_who_learns_from_outputs_must_be_told_them() -> None:
    class Learner(Spy):
        """An optimizer that needs outputs."""

        learns_from_outputs = True

    learner = Learner(2, budget=9, seed=1)
    candidates = learner.ask()
    with pytest.raises(OptimizerError, match="Learner learns from outputs"):
        learner.tell(candidates, np.zeros(4))
    learner.tell(candidates, np.zeros(4), list(np.zeros((4, 5, 3))))


@pytest.mark.parametrize("spec", ["cma:popsize=6", "spsa", "snes", "powell", "genetic", "auto"])
def test_losses_in_any_order_and_candidates_asked_ahead(spec: str) -> None:
    made = partial(create, spec, space(spec, 4, 5), budget=90, seed=1)
    rng = np.random.default_rng(0)
    whole, shuffled, ahead = made(), made(), made()
    while not whole.stop:
        candidates = whole.ask()
        whole.tell(candidates, scaled_sphere(whole, candidates, 1))
        again = shuffled.ask()
        for i in rng.permutation(len(again)):
            shuffled.tell(again[i], scaled_sphere(whole, again[[i]], 1)[0])
    for key, value in whole.state().items():
        np.testing.assert_array_equal(shuffled.state()[key], value)

    waiting: list[np.ndarray] = []
    told = 0
    while not ahead.stop:
        waiting += list(ahead.ask(8 - len(waiting))) if len(waiting) < 8 else []
        if told % 20 == 13:
            ahead.add(np.ones(4), 2.5)
            restored = restore(ahead.state())
            missing = restored.ask(len(waiting))
            assert sorted(map(bytes, missing)) == sorted(map(bytes, waiting))
            assert np.array_equal(restored.recommend(), ahead.recommend())
            ahead = restored
            waiting = list(missing)
        point = waiting.pop(rng.integers(len(waiting)))
        ahead.tell(point, scaled_sphere(whole, point[None], 1)[0])
        told += 1
    assert told == ahead.evaluations == 90
    assert ahead.best.loss <= 2.5
    assert np.array_equal(restore(ahead.state()).recommend(), ahead.recommend())


def test_all_of_the_budget_may_be_under_evaluation() -> None:
    optimizer = create("cma:popsize=6", 3, budget=20, seed=1)
    waiting = optimizer.ask(50)
    assert len(waiting) == 20
    assert not len(optimizer.ask(1))
    optimizer.tell(waiting[::-1], np.arange(20.0))
    assert optimizer.stop == "the budget of 20 is spent"
    assert optimizer.best.loss == 0


def test_the_loss_of_one_of_equal_candidates_is_that_of_one_which_was_asked_for() -> None:
    class Origin(Optimizer):
        """Asks ahead for the origin, which is also the last of each generation."""

        def _ask(self) -> np.ndarray:
            return np.array([[1.0], [2.0], [3.0], [0.0]])

        def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
            pass

        def recommend(self) -> np.ndarray:
            return np.zeros(1)

        def _ask_ahead(self, count: int) -> np.ndarray:
            return np.zeros((count, 1))

    optimizer = Origin(1, budget=23, seed=1)
    waiting: list[np.ndarray] = []
    for told in range(23):
        waiting += list(optimizer.ask(3 - len(waiting))) if len(waiting) < 3 else []
        assert waiting, f"{told} told, and no candidate is left"
        optimizer.tell(waiting.pop(0), 1.0)
    assert optimizer.stop == "the budget of 23 is spent"


def test_the_losses_told_of_an_incomplete_generation_are_in_a_snapshot() -> None:
    optimizer = create("logit-gn:popsize=5", 3, budget=30, seed=1)
    optimizer.output_loss = lambda outputs: (float(outputs @ outputs), 2 * outputs)
    candidates = optimizer.ask()
    for i in (3, 0):
        optimizer.tell(candidates[i], candidates[i] @ candidates[i], candidates[i])
    restored = restore(optimizer.state())
    restored.output_loss = optimizer.output_loss
    assert restored.evaluations == 2
    missing = restored.ask()
    assert np.array_equal(missing, candidates[[1, 2, 4]])
    for each in (optimizer, restored):
        each.tell(missing, (missing**2).sum(axis=1), list(missing))
    assert np.array_equal(restored.ask(), optimizer.ask())


def test_a_number_is_a_point_of_one_variable() -> None:
    spy = Spy(1, budget=8, seed=1)
    for number in spy.ask().ravel():
        spy.tell(number, number**2)
    spy.add(0.5, 0.0)
    assert spy.evaluations == len(spy.told[0]) == 4
    assert spy.best == (0.5, 0.0)
    wide = Spy(2, budget=8, seed=1)
    with pytest.raises(OptimizerError, match="the candidates passed to tell differ"):
        wide.tell(wide.ask()[0][0], 1.0)


def test_points_that_cannot_be_added_are_explained() -> None:
    optimizer = create("random", 3, budget=20, seed=1)
    for points in (1.0, np.ones(2), np.full(3, np.nan), ["a", "b", "c"]):
        with pytest.raises(OptimizerError, match=r"give finite numbers|give \(k, d\)"):
            optimizer.add(points, 1.0)
    choices = create("genetic", Space(2, choices=[3, 3]), budget=20, seed=1)
    with pytest.raises(OptimizerError, match="no choice of the space"):
        choices.add([0, 3], 1.0)


def test_random_search_may_look_at_the_start_and_draws_the_same_elsewhere() -> None:
    plain, looking = (
        create(spec, 300, budget=80, seed=1) for spec in ("random", "random:start=true")
    )
    first, second = plain.ask(), looking.ask()
    assert not second[0].any()
    assert np.array_equal(first[1:], second[1:])
    for each, candidates in ((plain, first), (looking, second)):
        each.tell(candidates, (candidates**2).sum(axis=1))
    assert plain.recommend().any()
    assert not looking.recommend().any()
    assert np.array_equal(plain.ask(), looking.ask())
