"""Optimizers on functions of whole numbers, choices and real variables, as a Markdown table.

``python -m craft_zoo.benchmarks.mixed`` gives the area under the share of targets reached over the
logarithm of evaluations, of ``auto`` and of others beside it, Optuna's TPE among them.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from craft_zoo import optimizers
from craft_zoo.benchmarks.bbob.runtimes import mean_bootstrap
from craft_zoo.errors import needs_extra
from craft_zoo.optimizers import Choice, Integer, Real

TARGETS = 10.0 ** (-np.arange(31) / 5)
"""(31,) losses as shares of the start's, from 1 down to 10^-6."""

TPE = "optuna's TPE"
DEFAULT = ("auto:stages=snes", "cma:popsize=8,restarts=bipop", "nevergrad:OnePlusOne", TPE)
"""What ``auto`` is compared with; the first is what it chose before ``one-plus-one``."""

Function = Callable[[list[Any]], float]
Space = list[Any]


def problem(name: str, instance: int) -> tuple[Space, Function]:
    """A space and a function of it with the least value 0, at a place that the instance decides."""
    rng = np.random.default_rng([instance, *name.encode()])
    return _FUNCTIONS[name](rng)


def _quadratic(space: Space, matrix: np.ndarray, rng: np.random.Generator) -> Function:
    """The coordinates of ``space``, of length 1, less random ones, squared by a matrix."""
    width = np.array([v.high - v.low for v in space], dtype=float)
    goal = np.array([v.value(rng.uniform(0.1, 0.9, 1)) for v in space], dtype=float)

    def f(x: list[Any]) -> float:
        u = (np.array(x, dtype=float) - goal) / width
        return float(u @ matrix @ u)

    return f


def _sphere(rng: np.random.Generator) -> tuple[Space, Function]:
    space: Space = [Integer(0, 20)] * 4 + [Real(-5, 5)] * 4
    return space, _quadratic(space, np.eye(8), rng)


def _ellipsoid(rng: np.random.Generator) -> tuple[Space, Function]:
    space: Space = [Integer(0, 100), Real(0, 1)] * 3
    return space, _quadratic(space, np.diag(10.0 ** (rng.permutation(6) * 0.6)), rng)


def _rotated(rng: np.random.Generator) -> tuple[Space, Function]:
    space: Space = [Integer(0, 10)] * 4 + [Real(-1, 1)] * 4
    axes = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    return space, _quadratic(space, axes @ np.diag(10.0 ** (np.arange(8) * 0.3)) @ axes.T, rng)


def _binary(rng: np.random.Generator) -> tuple[Space, Function]:
    space: Space = [Integer(0, 1)] * 8 + [Real(0, 1)] * 4
    return space, _quadratic(space, np.diag(rng.uniform(0.1, 1, 12)), rng)


def _choices(rng: np.random.Generator) -> tuple[Space, Function]:
    numbers: Space = [Real(0, 1)] * 3
    table = rng.uniform(0.1, 1, (5, 4))
    table[np.arange(5), rng.integers(4, size=5)] = 0
    sphere = _quadratic(numbers, np.eye(3), rng)
    space: Space = [Choice(range(4))] * 5 + numbers
    return space, lambda x: float(table[np.arange(5), x[:5]].sum()) + sphere(x[5:])


def _conditional(rng: np.random.Generator) -> tuple[Space, Function]:
    """Where the least lies depends on the choices."""
    numbers: Space = [Real(0, 1)] * 4
    costs = rng.uniform(0.05, 0.5, (3, 4))
    costs[rng.integers(3), rng.integers(4)] = 0
    spheres = [[_quadratic(numbers, np.eye(4), rng) for _ in range(4)] for _ in range(3)]
    space: Space = [Choice(range(3)), Choice(range(4)), *numbers]
    return space, lambda x: float(costs[x[0], x[1]]) + spheres[x[0]][x[1]](x[2:])


def _training(rng: np.random.Generator) -> tuple[Space, Function]:
    """As the hyper-parameters of a network: the best rate depends on optimizer and width."""
    space: Space = [
        Real(1e-5, 1e-1, log=True),
        Integer(1, 8),
        Integer(8, 1024, log=True),
        Choice(["relu", "gelu", "tanh"]),
        Choice(["sgd", "adam", "lion"]),
        Real(0, 0.5),
    ]
    rates = dict(zip(space[4].values, rng.uniform(-4.5, -1.5, 3), strict=True))
    better = dict(zip(space[4].values, rng.permutation([0, 0.1, 0.3]), strict=True))
    kinds = dict(zip(space[3].values, rng.permutation([0, 0.05, 0.2]), strict=True))
    layers, width, drop = rng.integers(2, 8), int(rng.integers(16, 512)), rng.uniform(0, 0.4)

    def f(x: list[Any]) -> float:
        wide = np.log10(x[2] / width)
        rate = np.log10(x[0]) - rates[x[4]] + 0.5 * wide
        terms = 0.3 * rate**2 + 0.02 * (x[1] - layers) ** 2 + 0.2 * wide**2 + (x[5] - drop) ** 2
        return float(terms + better[x[4]] + kinds[x[3]])

    return space, f


def _pairs(rng: np.random.Generator) -> tuple[Space, Function]:
    """Choices whose worth depends on one another, and two whole numbers."""
    numbers: Space = [Integer(0, 30)] * 2
    tables = rng.uniform(0, 1, (5, 3, 3))
    goal = rng.integers(3, size=6)
    tables[np.arange(5), goal[:-1], goal[1:]] = 0
    sphere = _quadratic(numbers, np.eye(2), rng)
    space: Space = [Choice(range(3))] * 6 + numbers
    pairs = np.arange(5)
    return space, lambda x: float(tables[pairs, x[:5], x[1:6]].sum()) + sphere(x[6:])


_FUNCTIONS = {
    "sphere": _sphere,
    "rotated": _rotated,
    "conditional": _conditional,
    "pairs": _pairs,
    "ellipsoid": _ellipsoid,
    "choices": _choices,
    "training": _training,
    "binary": _binary,
}

CHOSEN_ON, FUNCTIONS = tuple(_FUNCTIONS)[:4], tuple(_FUNCTIONS)[4:]
"""Functions on which it was chosen what ``auto`` does, and others."""


def losses(name: str, space: Space, f: Function, budget: int, seed: int) -> np.ndarray:
    """(budget,) losses of an optimizer of craft-zoo, or of :data:`TPE`, as evaluated."""
    with warnings.catch_warnings(action="ignore"), threadpool_limits(1):
        if name == TPE:
            return _tpe(space, f, budget, seed)
        result = optimizers.minimize(f, space=space, budget=budget, optimizer=name, seed=seed)
    found = result.history["loss"].to_numpy()
    return np.concatenate([found, np.full(budget - len(found), found.min())])


def _tpe(space: Space, f: Function, budget: int, seed: int) -> np.ndarray:
    """Optuna as its documentation shows it."""
    with needs_extra("optuna", "Optuna's TPE"):
        import optuna

    def objective(trial: Any) -> float:
        values: list[Any] = []
        for i, v in enumerate(space):
            if isinstance(v, Choice):
                values.append(v.values[trial.suggest_categorical(f"x{i}", range(len(v.values)))])
            else:
                ask = trial.suggest_int if isinstance(v, Integer) else trial.suggest_float
                values.append(ask(f"x{i}", v.low, v.high, log=v.log))
        return f(values)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=budget)
    return np.array([trial.value for trial in study.trials])


def area(name: str, function: str, instance: int, budget: int) -> float:
    """The area under the share of :data:`TARGETS` reached, from 1 evaluation to the budget."""
    space, f = problem(function, instance)
    start = f([each.default for each in space])
    best = np.minimum.accumulate(losses(name, space, f, budget, instance))
    reached = np.array([np.argmax(best <= start * t) + 1 for t in TARGETS], dtype=float)
    reached[best[-1] > start * TARGETS] = budget
    return float((1 - np.log(reached) / np.log(budget)).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table for each budget."""
    parser = argparse.ArgumentParser(
        prog="python -m craft_zoo.benchmarks.mixed",
        description="Area of auto and others on functions of whole numbers, choices and numbers.",
    )
    parser.add_argument("--optimizer", action="append", metavar="SPEC", help="repeatable")
    parser.add_argument(
        "--function",
        action="append",
        choices=CHOSEN_ON + FUNCTIONS,
        help=f"repeatable (default: {', '.join(FUNCTIONS)}, on which nothing was chosen)",
    )
    parser.add_argument("--budget", action="append", type=int, help="repeatable (default: 300)")
    parser.add_argument("--instances", type=int, default=10, help="of each function (default: 10)")
    options = parser.parse_args(arguments)
    names = options.function or FUNCTIONS
    for budget in options.budget or [300]:
        print(
            f"\n| {budget} evaluations | {' | '.join(names)} | mean (interval of `auto` less it) |"
        )
        print("|---" * (len(names) + 2) + "|")
        ours = None
        for spec in ("auto", *(options.optimizer or DEFAULT)):
            instances = range(1, options.instances + 1)
            found = np.array([[area(spec, f, i, budget) for i in instances] for f in names])
            ours = found if ours is None else ours
            _, low, high = mean_bootstrap((ours - found).ravel())
            cells = " | ".join(f"{each:.3f}" for each in found.mean(axis=1))
            mean = f"{found.mean():.3f} ({low:+.3f} to {high:+.3f})"
            print(f"| `{spec}` | {cells} | {mean} |", flush=True)


if __name__ == "__main__":
    main()
