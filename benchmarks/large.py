"""Comparison of optimizers in hundreds and thousands of variables, as a Markdown table.

``python -m craft_zoo.benchmarks.large`` runs each optimizer of real variables on four functions
and gives the loss of the recommended point as a share of the loss at the start.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.fft import dct
from threadpoolctl import threadpool_limits

from craft_zoo import optimizers
from craft_zoo.files import write_atomically

_CONDITION = 1e6
_MODELS = "cobyqa"  # whose time for a candidate grows with the cube of the dimension
_MOST_FOR_MODELS = 100  # variables

Function = Callable[[np.ndarray], float]


def default_specs() -> list[str]:
    """All registered optimizers of real variables that learn from losses alone."""
    specs = [name for name in optimizers.names() if optimizers.searches(name, choices=False)]
    made = [optimizers.create(name, 2, budget=100, seed=1) for name in specs]
    found = [each for each, one in zip(specs, made, strict=True) if not one.learns_from_outputs]
    return ["random:start=true" if each == "random" else each for each in found]


def functions(dimension: int) -> dict[str, Function]:
    """The functions by name; the start is the origin, the least value 0."""
    goal = np.random.default_rng(dimension).standard_normal((2, dimension))
    weights = _CONDITION ** (np.arange(dimension) / max(1, dimension - 1))

    def sphere(z: np.ndarray) -> float:
        return float(((z - goal[0]) ** 2).sum())

    def ellipsoid(z: np.ndarray) -> float:
        return float((weights * (z - goal[0]) ** 2).sum())

    def rotated(z: np.ndarray) -> float:
        turned = dct(np.sign(goal[1]) * (z - goal[0]), norm="ortho")
        return float((weights * turned**2).sum())

    def rosenbrock(z: np.ndarray) -> float:
        return float((100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum())

    return {
        "sphere": sphere,
        "ellipsoid": ellipsoid,
        "rotated ellipsoid": rotated,
        "Rosenbrock": rosenbrock,
    }


def share(spec: str, function: Function, dimension: int, budget: int, seed: int) -> float:
    """The loss of the point recommended at the end, divided by the loss at the start."""
    optimizer = optimizers.create(spec, dimension, budget=budget, seed=seed)
    while not optimizer.stop:
        candidates = optimizer.ask()
        optimizer.tell(candidates, [function(each) for each in candidates])
    return function(optimizer.recommend()) / function(np.zeros(dimension))


def measure(spec: str, dimension: int, budget: int, seeds: Sequence[int]) -> dict[str, object]:
    """The median share on each function over the seeds, and the mean seconds of a run."""
    row: dict[str, object] = {"optimizer": f"`{spec}`"}
    began = time.process_time()
    for name, function in functions(dimension).items():
        row[name] = np.median([share(spec, function, dimension, budget, seed) for seed in seeds])
    runs = len(seeds) * len(functions(dimension))
    return row | {"seconds": (time.process_time() - began) / runs}


def markdown(table: pd.DataFrame) -> str:
    """The table with two significant digits."""
    lines = [list(table), ["---"] * len(table.columns)]
    for row in table.itertuples(index=False):
        lines.append([each if isinstance(each, str) else f"{each:.2g}" for each in row])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def add_arguments(
    parser: argparse.ArgumentParser, *, optimizers: str, dimensions: str, seeds: int
) -> None:
    """Add the arguments of a table of optimizers, with their defaults in words and numbers."""
    repeatable = "repeatable (default: {})".format
    parser.add_argument("--optimizer", action="append", metavar="SPEC", help=repeatable(optimizers))
    parser.add_argument("--dimension", action="append", type=int, help=repeatable(dimensions))
    parser.add_argument(
        "--seeds", type=int, default=seeds, help=f"number of seeds (default: {seeds})"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the tables as Markdown")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table for each dimension and, with ``--out``, write them."""
    parser = argparse.ArgumentParser(
        prog="python -m craft_zoo.benchmarks.large",
        description="Loss at the end as a share of that at the start, in many variables.",
    )
    add_arguments(parser, optimizers="all", dimensions="512 and 2048", seeds=3)
    parser.add_argument("--budget", type=int, default=8000, help="evaluations (default: 8000)")
    parser.add_argument("--quick", action="store_true", help="20 variables, 400 evaluations")
    options = parser.parse_args(arguments)
    dimensions, budget, seeds = options.dimension or [512, 2048], options.budget, options.seeds
    if options.quick:
        dimensions, budget, seeds = [20], 400, 1
    text = ""
    for dimension in dimensions:
        rows = []
        for spec in options.optimizer or default_specs():
            if spec.partition(":")[0] == _MODELS and dimension > _MOST_FOR_MODELS:
                print(f"Left out: {spec} (it is for up to about 50 variables)", flush=True)
                continue
            with threadpool_limits(1):
                rows.append(measure(spec, dimension, budget, range(1, seeds + 1)))
            print(*(f"{each}" for each in rows[-1].values()), flush=True)
        head = f"{dimension:,} variables, {budget:,} evaluations, median of {seeds} seeds\n\n"
        text += head + markdown(pd.DataFrame(rows)) + "\n"
    print("\n" + text)
    if options.out:
        write_atomically(options.out, text)


if __name__ == "__main__":
    main()
