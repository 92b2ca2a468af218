"""SciPy's searches behind the ask/tell interface."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from craft_zoo.optimizers import Optimizer, OptimizerError, create, restore

SPECS = ["nelder-mead", "powell", "cobyqa", "l-bfgs"]


def valley(z: np.ndarray) -> float:
    return float(optimize.rosen(z))


def bowl(z: np.ndarray) -> float:
    return float(((z - 0.7) ** 2).sum())


def advance(optimizer: Optimizer, evaluations: int, f: Any = valley) -> list[list[float]]:
    asked = []
    for _ in range(evaluations):
        candidates = optimizer.ask()
        asked.append(candidates[0].tolist())
        optimizer.tell(candidates, [f(candidates[0])])
    return asked


@pytest.mark.parametrize(
    ("spec", "method", "options"),
    [
        (
            "nelder-mead:adaptive=false",
            "Nelder-Mead",
            {"initial_simplex": np.vstack([np.zeros(3), np.eye(3)])},
        ),
        ("powell", "Powell", {"ftol": 1e-12}),
        ("cobyqa", "COBYQA", {"final_tr_radius": 1e-8}),
    ],
)
def test_the_candidates_are_scipys(spec: str, method: str, options: dict[str, Any]) -> None:
    expected: list[list[float]] = []

    def noted(z: np.ndarray) -> float:
        expected.append(z.tolist())
        return valley(z)

    optimize.minimize(noted, np.zeros(3), method=method, options=options | {"maxfev": 900})
    assert advance(create(spec, 3, budget=60, seed=1), 60) == expected[:60]


@pytest.mark.parametrize("spec", SPECS)
def test_it_is_restarted_and_its_restarts_are_restored(spec: str) -> None:
    optimizer = create(f"{spec}:tolerance=0.01", 2, budget=300, seed=3)
    asked = advance(optimizer, 250, bowl)
    other = create(f"{spec}:tolerance=0.01", 2, budget=300, seed=4)
    assert advance(other, 250, bowl) != asked  # the seed draws the points of restarts
    restored = restore(optimizer.state())
    assert advance(restored, 50, bowl) == advance(optimizer, 50, bowl)
    assert np.array_equal(restored.recommend(), optimizer.recommend())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_continues_the_same(spec: str, copied: Any) -> None:
    optimizer = create(spec, 3, budget=100, seed=1)
    advance(optimizer, 30)
    candidates = optimizer.ask()
    twin = copied(optimizer)
    for each in (optimizer, twin):
        each.tell(twin._awaited.generation, [valley(candidates[0])])
    assert advance(twin, 30) == advance(optimizer, 30)


@pytest.mark.parametrize("spec", SPECS)
def test_a_fork_continues_the_same(spec: str) -> None:
    optimizer = create(spec, 3, budget=100, seed=1)
    advance(optimizer, 30)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=lambda: sender.send(advance(optimizer, 30)))
    process.start()
    assert receiver.poll(60)
    assert receiver.recv() == advance(optimizer, 30)
    process.join()


def threads() -> int:
    return sum(each.name == "optimizer" for each in threading.enumerate())


def test_abandoned_searches_leave_no_threads() -> None:
    gc.collect()
    before = threads()
    searches = [create(spec, 2, budget=100, seed=i) for i in range(5) for spec in SPECS]
    assert threads() <= before  # none before the first ask
    for each in searches:
        advance(each, 4)
        each.ask()
    assert threads() >= len(searches)  # one of an earlier test may have ended since
    del searches, each
    gc.collect()
    deadline = time.monotonic() + 20
    while threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() <= before


@pytest.mark.parametrize("spec", SPECS)
def test_a_function_without_a_minimum_does_not_end_the_search(spec: str) -> None:
    optimizer = create(spec, 2, budget=400, seed=1)
    while not optimizer.stop:
        candidates = optimizer.ask()
        optimizer.tell(candidates, candidates.sum(axis=1))
    assert optimizer.best.loss < -100


def test_l_bfgs_takes_newtons_step_only_on_a_sum_of_functions_of_single_variables() -> None:
    weights = 10.0 ** np.arange(6)
    optimizer = create("l-bfgs", 6, budget=100, seed=1)
    advance(optimizer, 17, lambda z: float(weights @ (z - 0.7) ** 2))  # 4, two for each, the step
    assert optimizer.best.loss < 1e-9
    alone = create("l-bfgs:only_separable=true", 6, budget=100, seed=1)
    while not alone.stop:
        advance(alone, 1)
    assert (alone.stop, alone.evaluations) == ("scipy's search has converged", 4)


@pytest.mark.parametrize("kind", [np.zeros(4), np.array([0.0, 1.0, 0.0, 1.0])])
def test_l_bfgs_takes_no_scales_from_rounding_errors(kind: np.ndarray) -> None:
    def f(z: np.ndarray) -> float:
        return float(np.where(kind, 9 * (z - 0.3) ** 2, np.abs(z - 0.3)).sum())

    optimizer = create("l-bfgs:restarts=false", 4, budget=300, seed=1)
    while not optimizer.stop:
        candidates = optimizer.ask()
        optimizer.tell(candidates, [f(z) for z in candidates])
    assert optimizer.best.loss < 1e-6  # it ended at 0.8 and 1.1


def test_what_scipy_refuses_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("not today")

    monkeypatch.setattr(optimize, "minimize", refuse)
    with pytest.raises(OptimizerError, match="'powell' cannot search 2 variables: not today"):
        create("powell", 2, budget=100, seed=1).ask()
