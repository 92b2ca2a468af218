"""Every backend keeps the rules of the interface."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo.optimizers import Optimizer, OptimizerError, create, names, options, register

SPECS = [
    "cma",
    "cma:popsize=7,sigma=0.4,bound=2.0",
    "cma:diagonal=true",
    "spsa",
    "spsa:calibration=3",
    "nevergrad",
    "nevergrad:OnePlusOne",
    "nevergrad:CMA:workers=8",
    "nevergrad:TwoPointsDE:workers=30",
]


def minimise(spec: str, budget: int, dim: int = 6, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Candidates asked for and the final recommendation, on a shifted sphere."""
    optimizer, asked, used = create(spec, dim, budget=budget, seed=seed), [], 0
    while used < budget:
        candidates = optimizer.ask()[: budget - used]
        optimizer.tell(candidates, ((candidates - 0.7) ** 2).sum(axis=1))
        asked.append(candidates)
        used += len(candidates)
    return np.concatenate(asked), optimizer.recommend()


@pytest.mark.parametrize("spec", SPECS)
def test_it_comes_closer_to_the_minimum(spec: str) -> None:
    _, best = minimise(spec, 800)
    assert best.shape == (6,)
    assert ((best - 0.7) ** 2).sum() < 0.25 * 6 * 0.7**2


@pytest.mark.parametrize("spec", SPECS)
def test_the_seed_decides_everything_and_global_state_nothing(spec: str) -> None:
    np.random.seed(3)
    state = np.random.get_state()[1].copy()
    asked, best = minimise(spec, 90)
    assert np.array_equal(np.random.get_state()[1], state)
    np.random.seed(4)
    again, best_again = minimise(spec, 90)
    assert np.array_equal(asked, again)
    assert np.array_equal(best, best_again)
    other, _ = minimise(spec, 90, seed=2)
    assert not np.array_equal(asked, other)


@pytest.mark.parametrize("spec", SPECS)
def test_two_in_one_process_do_not_disturb_each_other(spec: str) -> None:
    alone, _ = minimise(spec, 90)
    pair = [create(spec, 6, budget=90, seed=seed) for seed in (1, 2)]
    asked: list[np.ndarray] = []
    while sum(map(len, asked)) < 90:
        for optimizer in pair:
            candidates = optimizer.ask()
            if optimizer is pair[0]:
                candidates = candidates[: 90 - sum(map(len, asked))]
                asked.append(candidates)
            optimizer.tell(candidates, ((candidates - 0.7) ** 2).sum(axis=1))
    assert np.array_equal(np.concatenate(asked), alone)


@pytest.mark.parametrize("spec", SPECS)
def test_before_the_first_tell_the_start_is_recommended(spec: str) -> None:
    optimizer = create(spec, 5, budget=100, seed=1)
    assert np.array_equal(optimizer.recommend(), np.zeros(5))
    optimizer.ask()
    assert np.array_equal(optimizer.recommend(), np.zeros(5))


@settings(max_examples=15, deadline=None)
@given(
    spec=st.sampled_from(SPECS),
    data=st.data(),
    dim=st.integers(2, 5),
)
def test_any_losses_leave_finite_candidates(spec: str, data: st.DataObject, dim: int) -> None:
    optimizer = create(spec, dim, budget=200, seed=1)
    loss = st.floats(allow_nan=True, allow_infinity=True, width=32)
    for _ in range(3):
        candidates = optimizer.ask()
        assert candidates.ndim == 2
        assert candidates.shape[1] == dim
        n = len(candidates)
        optimizer.tell(candidates, data.draw(st.lists(loss, min_size=n, max_size=n)))
        assert np.isfinite(optimizer.recommend()).all()


def test_bad_losses_count_as_the_worst_of_the_generation() -> None:
    told = []

    class Spy(Optimizer):
        """Notes what it is told."""

        def _ask(self):
            return np.zeros((4, self.dim))

        def _tell(self, candidates, losses, outputs, complete) -> None:
            told.append((losses.tolist(), complete))

        def recommend(self):
            return np.zeros(self.dim)

    spy = Spy(2, budget=10, seed=1)
    candidates = spy.ask()
    spy.tell(candidates, [1.0, np.nan, 3.0, np.inf])
    spy.tell(spy.ask()[:2], [np.nan, np.nan])
    assert told == [([1.0, 3.0, 3.0, 3.0], True), ([0.0, 0.0], False)]


def test_bounds_are_kept() -> None:
    asked, best = minimise("cma:bound=0.5", 400)
    assert np.abs(asked).max() <= 0.5
    assert np.allclose(best, 0.5, atol=0.05)


def test_misuse_is_explained() -> None:
    optimizer = create("cma", 3, budget=100, seed=1)
    with pytest.raises(OptimizerError, match="tell was called before ask"):
        optimizer.tell(np.zeros((1, 3)), [0.0])
    candidates = optimizer.ask()
    with pytest.raises(OptimizerError, match="ask was called twice"):
        optimizer.ask()
    with pytest.raises(OptimizerError, match="tell what ask returned"):
        optimizer.tell(np.zeros((2, 4)), [0.0, 0.0])
    with pytest.raises(OptimizerError, match="give one number each"):
        optimizer.tell(candidates, [0.0])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cmaa", "unknown optimizer 'cmaa': choose from cma, nevergrad, spsa"),
        ("cma:popsiz=3", "'cma' has no option 'popsiz': it has popsize, sigma"),
        ("cma:popsize=big", "'popsize' of optimizer 'cma' must be int, not 'big'"),
        ("cma:bound=wide", "'bound' of optimizer 'cma' must be float or none"),
        ("cma:diagonal=maybe", "'diagonal' of optimizer 'cma' must be bool"),
        ("cma:popsize=2", "must be at least 4"),
        ("cma:sigma=0", "above 0"),
        ("cma:bound=-1", "above 0"),
        ("cma:popsize=200", "budget of 100 is smaller than one generation"),
        ("cma:NGOpt", "has no variants"),
        ("cma:popsize=", "write option=value"),
        ("spsa:step=-1", "'step' of 'spsa' must be above 0"),
        ("nevergrad:NGOp", "nevergrad has no optimizer 'NGOp': did you mean NGOpt"),
        ("nevergrad:NGOpt:workers=0", "at least 1"),
    ],
)
def test_bad_specs(spec: str, message: str) -> None:
    with pytest.raises(OptimizerError, match=message):
        create(spec, 10, budget=100, seed=1)


@pytest.mark.parametrize(("dim", "budget"), [(0, 10), (3, 0)])
def test_bad_sizes(dim: int, budget: int) -> None:
    with pytest.raises(OptimizerError, match="at least 1"):
        create("spsa", dim, budget=budget, seed=1)


def test_options_are_what_the_constructor_declares() -> None:
    declared = {option.name: (option.type, option.default) for option in options("cma")}
    assert declared["popsize"] == (int, 40)
    assert declared["bound"] == (float | None, None)
    assert create("cma:bound=none", 3, budget=50, seed=1)
    assert create("cma", 3, budget=50, seed=1, popsize=5).ask().shape == (5, 3)


def test_a_new_optimizer_is_one_decorated_class() -> None:
    @register("constant")
    class Constant(Optimizer):
        """Always asks for the same point."""

        def __init__(self, dim: int, *, budget: int, seed: int, value: float = 0.5) -> None:
            super().__init__(dim, budget=budget, seed=seed)
            self.value = value

        def _ask(self) -> np.ndarray:
            return np.full((1, self.dim), self.value)

        def _tell(self, candidates, losses, outputs, complete) -> None:
            pass

        def recommend(self) -> np.ndarray:
            return np.zeros(self.dim)

    try:
        assert names()["constant"] == "Always asks for the same point."
        assert create("constant:value=2", 2, budget=3, seed=1).ask().tolist() == [[2.0, 2.0]]
        with pytest.raises(OptimizerError, match="exists already"):
            register("cma")(Constant)
    finally:
        from craft_zoo.optimizers import registry

        del registry._CLASSES["constant"]
