"""Time that craft-zoo adds to the optimizer libraries that it wraps.

``python -m craft_zoo.benchmarks.overhead`` runs each optimizer through craft-zoo and directly with
its library ("bare"), on the same random numbers and losses and so on the same candidates. Short
blocks of both alternate. The table compares the CPU time of one thread in ask and tell, without
the time of the losses.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cma
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from craft_zoo import optimizers
from craft_zoo.benchmarks.bbob.solvers import pycma_options, read_spec
from craft_zoo.files import write_atomically
from craft_zoo.optimizers.global_rng import GlobalGenerator

_PYCMA = ("cma", "sep-cma", "vkd-cma")
_NEVERGRAD = ("OnePlusOne", "TwoPointsDE", "CMA", "PSO")
_SEED = 1

# Runs one generation and returns the seconds spent in ask and tell, and the candidates (λ, d).
Generation = Callable[[], tuple[float, np.ndarray]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and, with ``--out``, write it."""
    parser = argparse.ArgumentParser(
        prog="python -m craft_zoo.benchmarks.overhead",
        description="Time per candidate of craft-zoo beyond that of the library behind it.",
    )
    parser.add_argument("--dimension", type=int, default=512, help="variables (default: 512)")
    parser.add_argument("--popsize", type=int, default=40, help="candidates (default: 40)")
    parser.add_argument(
        "--blocks", type=int, default=12, help="pairs of blocks to compare (default: 12)"
    )
    parser.add_argument(
        "--generations", type=int, default=4, help="generations a block (default: 4)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table as CSV")
    options = parser.parse_args(arguments)
    specs = [f"{name}:popsize={options.popsize}" for name in _PYCMA]
    specs += [f"nevergrad:{name}:workers={options.popsize}" for name in _NEVERGRAD]
    rows = []
    size = (options.dimension, options.popsize, options.blocks, options.generations)
    with threadpool_limits(1):
        for spec in specs:
            try:
                rows.append(measure(spec, *size))
            except Exception as error:  # libraries raise exceptions of any type
                text = str(error).partition("\n")[0]
                print(f"Left out: {spec} ({text})")
    table = pd.DataFrame(rows)
    print("µs a candidate, and overhead: median of the pairs, and quartiles")
    formats = dict.fromkeys(("overhead", "low", "high"), "{:+.1%}".format)
    print(table.to_string(index=False, formatters=formats, float_format="{:,.1f}".format))
    if options.out:
        write_atomically(options.out, table.to_csv(index=False))


def measure(
    spec: str, dimension: int, popsize: int, blocks: int, generations: int
) -> dict[str, Any]:
    """Compare one optimizer with the library behind it.

    Args:
        spec: as given to :func:`craft_zoo.optimizers.create`.
        dimension: d.
        popsize: population size λ, equal to the one in ``spec``.
        blocks: pairs of blocks; one more pair before them is a warm-up and not counted.
        generations: per block.

    Returns:
        optimizer; bare and ours: median microseconds per candidate; overhead: median over pairs
        of ours / bare - 1, with quartiles low and high; same: whether both proposed the same
        candidates throughout.
    """
    budget = popsize * generations * (blocks + 1)
    pair = (_bare(spec, dimension, budget), _ours(spec, dimension, budget))
    seconds = np.zeros((blocks + 1, 2))
    same = True
    for block in range(blocks + 1):
        seen: list[list[np.ndarray]] = [[], []]
        for which in (0, 1) if block % 2 else (1, 0):
            for _ in range(generations):
                spent, candidates = pair[which]()
                seconds[block, which] += spent
                seen[which].append(candidates)
        same = same and np.array_equal(seen[0], seen[1])
    bare, ours = 1e6 * seconds[1:].T / (popsize * generations)
    low, middle, high = np.quantile(ours / bare - 1, [0.25, 0.5, 0.75])
    return {
        "optimizer": spec,
        "bare": np.median(bare),
        "ours": np.median(ours),
        "overhead": middle,
        "low": low,
        "high": high,
        "same": same,
    }


def losses(candidates: np.ndarray) -> np.ndarray:
    """(λ,) values of an ellipsoid; candidates are (λ, d)."""
    return (candidates**2) @ np.logspace(0, 2, candidates.shape[1])


def _generation(
    ask: Callable[[], Any],
    tell: Callable[[Any, np.ndarray], object],
    points: Callable[[Any], np.ndarray] = np.array,
) -> Generation:
    """Time ask and tell, but neither the losses nor ``points``, which makes (λ, d) of the asked."""

    def generation() -> tuple[float, np.ndarray]:
        began = time.process_time()
        asked = ask()
        seconds = time.process_time() - began
        candidates = points(asked)
        values = losses(candidates)
        began = time.process_time()
        tell(asked, values)
        del asked  # the library's candidates are freed in its time, as they are in ours
        return seconds + time.process_time() - began, candidates

    return generation


def _ours(spec: str, dimension: int, budget: int) -> Generation:
    optimizer = optimizers.create(spec, dimension, budget=budget, seed=_SEED)
    return _generation(optimizer.ask, optimizer.tell)


def _bare(spec: str, dimension: int, budget: int) -> Generation:
    name, variant, options = read_spec(spec)
    if name == "nevergrad":
        return _bare_nevergrad(variant, options["workers"], dimension, budget)
    rng = np.random.default_rng(_SEED)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape if shape else None)

    settings = pycma_options(name, options) | {"seed": np.nan, "randn": normal}
    settings["tolflatfitness"] = 10  # craft-zoo's setting
    if name == "vkd-cma":
        settings["CMA_sampler_options"] = {"randn": normal}
    es = cma.CMAEvolutionStrategy(np.zeros(dimension), options["sigma"], settings)

    def tell(asked: list[np.ndarray], values: np.ndarray) -> None:
        es.tell(asked, values)
        es.stop()

    return _generation(es.ask, tell)


def _bare_nevergrad(variant: str, workers: int, dimension: int, budget: int) -> Generation:
    import nevergrad as ng  # slow to import, so only on use

    # Both optimizers draw from the global generators, so each swaps in its own state, untimed.
    generators = GlobalGenerator(_SEED)
    with generators.swapped_in(), warnings.catch_warnings(action="ignore"):
        parametrization = ng.p.Array(init=np.zeros(dimension)).set_mutation(sigma=1.0)
        parametrization.random_state = np.random.RandomState(_SEED)
        optimizer = ng.optimizers.registry[variant](
            parametrization, budget=budget, num_workers=workers
        )

    def ask() -> list[tuple[Any, np.ndarray]]:
        asked = [optimizer.ask() for _ in range(workers)]
        return [(candidate, candidate.value) for candidate in asked]

    def tell(asked: list[tuple[Any, np.ndarray]], values: np.ndarray) -> None:
        for (candidate, _), value in zip(asked, values, strict=True):
            optimizer.tell(candidate, float(value))

    timed = _generation(ask, tell, lambda asked: np.stack([point for _, point in asked]))

    def generation() -> tuple[float, np.ndarray]:
        with generators.swapped_in(), warnings.catch_warnings(action="ignore"):
            return timed()

    return generation


if __name__ == "__main__":
    main()
