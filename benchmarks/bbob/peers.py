"""Optimizers of other libraries that craft-zoo does not wrap, as their documentation shows them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from craft_zoo.benchmarks.bbob.problems import Problem

_HALF = 2.5  # half the width of BBOB's domain [-5, 5]^d in the units of Problem


class _Over(Exception):  # noqa: N818
    """Ends a search whose budget is spent or whose problem is solved."""


def differential_evolution(problem: Problem, budget: int, seed: int) -> None:
    """scipy's differential_evolution within BBOB's domain, started again when it converges."""
    from scipy.optimize import differential_evolution as scipy_de

    def f(z: np.ndarray) -> float:
        if problem.solved or problem.evaluations >= budget:
            raise _Over
        return problem(z)

    rng = np.random.default_rng(seed)
    try:
        while True:
            scipy_de(f, [(-_HALF, _HALF)] * problem.dimension, maxiter=budget, rng=rng)
    except _Over:
        pass


def cmaes(problem: Problem, budget: int, seed: int) -> None:
    """CMA of the package cmaes with the IPOP restarts of its README."""
    from cmaes import CMA

    rng = np.random.default_rng(seed)
    mean, popsize = np.zeros(problem.dimension), None
    while True:
        search = CMA(mean=mean, sigma=1.0, population_size=popsize, seed=seed)
        while not search.should_stop():
            told = []
            for _ in range(search.population_size):
                if problem.solved or problem.evaluations >= budget:
                    return
                z = search.ask()
                told.append((z, problem(z)))
            search.tell(told)
        popsize, seed = 2 * search.population_size, seed + 1
        mean = rng.uniform(-_HALF, _HALF, problem.dimension)


def pypop7(problem: Problem, budget: int, seed: int) -> None:
    """CMA-ES of pypop7, which restarts with twice the population."""
    from pypop7.optimizers.es.cmaes import CMAES

    about = {
        "fitness_function": problem,
        "ndim_problem": problem.dimension,
        "lower_boundary": np.full(problem.dimension, -_HALF),
        "upper_boundary": np.full(problem.dimension, _HALF),
    }
    options = {
        "max_function_evaluations": budget,
        "fitness_threshold": problem.last_target,
        "mean": np.zeros(problem.dimension),
        "sigma": 1.0,
        "seed_rng": seed,
        "verbose": 0,
    }
    CMAES(about, options).optimize()


PEERS: dict[str, Callable[[Problem, int, int], Any]] = {
    "differential-evolution": differential_evolution,
    "cmaes": cmaes,
    "pypop7": pypop7,
}
"""Name of a peer → function that runs it on a problem with a budget and a seed."""


def missing(name: str) -> bool:
    """Whether a peer's package is not installed."""
    return find_spec("scipy" if name == "differential-evolution" else name) is None
