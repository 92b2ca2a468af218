"""What every optimizer inherits: the rules of ask, tell, stop and recommend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo.optimizers import Optimizer, OptimizerError, Outputs, create, names

OWN = sorted(set(names()) - {"nevergrad"})


class Spy(Optimizer):
    """Asks for four candidates and notes what it is told."""

    def __init__(self, dim: int, *, budget: int, seed: int) -> None:
        super().__init__(dim, budget=budget, seed=seed)
        self.told: list[list[float]] = []

    def _ask(self) -> np.ndarray:
        return self.rng.standard_normal((4, self.dim))

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        self.told.append(losses.tolist())

    def recommend(self) -> np.ndarray:
        return np.zeros(self.dim)


def test_bad_losses_count_as_the_worst_of_the_generation() -> None:
    spy = Spy(2, budget=100, seed=1)
    spy.tell(spy.ask()[:2], [np.nan, np.inf])
    spy.tell(spy.ask(), [1.0, np.nan, 3.0, -np.inf])
    spy.tell(spy.ask()[:1], [2.0])
    spy.tell(spy.ask()[:2], [np.nan, np.inf])
    assert spy.told == [[0.0, 0.0], [1.0, 3.0, 3.0, 3.0], [2.0], [3.0, 3.0]]


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
    with pytest.raises(OptimizerError, match=r"after the end \(the budget of 10 is spent\)"):
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
    optimizer = create(spec, dim, budget=budget, seed=1)
    if optimizer.needs_choices:
        optimizer.choices = np.full(dim, 7)
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
    with pytest.raises(OptimizerError, match="ask was called twice"):
        optimizer.ask()
    for wrong in (np.zeros((2, 4)), candidates[::-1], candidates[:0], candidates + 1e-9):
        with pytest.raises(OptimizerError, match="tell what ask returned"):
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
    ],
)
def test_a_wrong_ask_is_noticed_before_it_is_paid_for(asked: np.ndarray, message: str) -> None:
    class Wrong(Spy):
        """Asks for the wrong thing."""

        def _ask(self) -> np.ndarray:
            return asked

    with pytest.raises(OptimizerError, match=message):
        Wrong(2, budget=9, seed=1).ask()


def test_who_learns_from_outputs_must_be_told_them() -> None:
    class Learner(Spy):
        """Needs what is behind the losses."""

        learns_from_outputs = True

    learner = Learner(2, budget=9, seed=1)
    candidates = learner.ask()
    with pytest.raises(OptimizerError, match="Learner learns from outputs"):
        learner.tell(candidates, np.zeros(4))
    learner.tell(candidates, np.zeros(4), list(np.zeros((4, 5, 3))))
