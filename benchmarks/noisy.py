"""Comparison of optimizers on noisy functions, as a Markdown table.

``python -m craft_zoo.benchmarks.noisy`` adds normal noise to the functions of
:mod:`craft_zoo.benchmarks.large` and gives the loss without noise of the point found, as a share of
the loss at the start.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from craft_zoo import optimizers
from craft_zoo.benchmarks.large import Function, add_arguments, functions, markdown
from craft_zoo.files import write_atomically

NOISY = "minimize(noisy=True)"
HANDLER = "pycma with NoiseHandler"
_OURS = ("auto", "cma", "cma:noise=true", "spsa", "snes")
DEFAULT = (NOISY, *_OURS, "nevergrad:TBPSA", "nevergrad:NoisyDE", HANDLER)


def find(name: str, function: Function, dimension: int, budget: int, seed: int) -> np.ndarray:
    """The point that an optimizer ends with.

    Args:
        name: a spec, :data:`NOISY` or :data:`HANDLER`.
        function: with noise.
        dimension: d.
        budget: evaluations.
        seed: of the optimizer.
    """
    start = np.zeros(dimension)
    if name == HANDLER:
        return _pycma(function, dimension, budget, seed)
    if name == NOISY:
        result = optimizers.minimize(function, start, budget=budget, seed=seed, noisy=True)
        return np.asarray(result.x)
    result = optimizers.minimize(function, start, budget=budget, seed=seed, optimizer=name)
    return np.asarray(result.recommended)


def _pycma(function: Function, dimension: int, budget: int, seed: int) -> np.ndarray:
    """pycma alone, as the example of its NoiseHandler shows."""
    import cma

    np.random.seed(seed)
    options = {"verbose": -9, "seed": seed, "maxfevals": budget}
    es = cma.CMAEvolutionStrategy(np.zeros(dimension), 1.0, options)
    handler = cma.NoiseHandler(dimension, maxevals=[1, 1, 30])
    spent = 0
    while not es.stop() and spent < budget:
        candidates, losses = es.ask_and_eval(function, evaluations=handler.evaluations)
        spent += len(candidates) * int(handler.evaluations)
        es.tell(candidates, losses)
        es.sigma *= handler(candidates, losses, function, es.ask)
        spent += handler.evaluations_just_done
        es.countevals = spent
    return np.array(es.result.xfavorite)


def share(
    name: str, function: Function, dimension: int, budget: int, noise: float, seed: int
) -> float:
    """The loss without noise of the point found, divided by that at the start.

    ``noise`` is the standard deviation of the noise, divided by the loss at the start.
    """
    rng = np.random.default_rng([seed, dimension])
    start = function(np.zeros(dimension))

    def noisy(z: np.ndarray) -> float:
        return function(z) + noise * start * float(rng.standard_normal())

    with warnings.catch_warnings(action="ignore"):
        return function(find(name, noisy, dimension, budget, seed)) / start


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table for each dimension and noise and, with ``--out``, write them."""
    parser = argparse.ArgumentParser(
        prog="python -m craft_zoo.benchmarks.noisy",
        description="Loss without noise at the end as a share of that at the start.",
    )
    add_arguments(parser, optimizers=", ".join(DEFAULT), dimensions="5 and 20", seeds=10)
    parser.add_argument("--budget", type=int, default=100, help="evaluations a dimension (100)")
    parser.add_argument(
        "--noise",
        action="append",
        type=float,
        help="its standard deviation as a share of the start's loss; repeatable (0.01 and 0.1)",
    )
    options = parser.parse_args(arguments)
    text = ""
    for dimension in options.dimension or [5, 20]:
        for noise in options.noise or [0.01, 0.1]:
            rows = []
            budget = options.budget * dimension
            for name in options.optimizer or DEFAULT:
                row: dict[str, object] = {"optimizer": f"`{name}`"}
                with threadpool_limits(1):
                    for label, function in functions(dimension).items():
                        seeds = range(1, options.seeds + 1)
                        args = (name, function, dimension, budget, noise)
                        row[label] = float(np.median([share(*args, seed) for seed in seeds]))
                rows.append(row)
            head = f"{dimension} variables, {budget:,} evaluations, noise of {noise:g}"
            part = f"{head}, median of {options.seeds} seeds\n\n{markdown(pd.DataFrame(rows))}\n"
            print(part, flush=True)
            text += part
    if options.out:
        write_atomically(options.out, text)


if __name__ == "__main__":
    main()
