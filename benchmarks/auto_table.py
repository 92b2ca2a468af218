"""Comparison of ``auto`` with other optimizers on BBOB, with paired intervals, as Markdown.

``python -m craft_zoo.benchmarks.auto_table --dimension 5 --budget 200`` runs them on the functions
on which the stages of ``auto`` were not chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from craft_zoo.benchmarks.bbob.peers import PEERS, missing
from craft_zoo.benchmarks.bbob.problems import SUITES
from craft_zoo.benchmarks.bbob.runtimes import areas, mean_bootstrap
from craft_zoo.benchmarks.bbob.solvers import Solver
from craft_zoo.benchmarks.bbob.suite import Suite, run_unit
from craft_zoo.files import write_atomically
from craft_zoo.optimizers.auto import popsize

FUNCTIONS = (4, 7, 9, 11, 13, 16, 18, 19, 20, 22, 23, 24)
"""BBOB functions that no choice of ``auto`` was made on, except that for one or two variables."""


def peers(dimension: int) -> list[str]:
    """Optimizers to compare ``auto`` with: specs, and names of other libraries' optimizers."""
    population = max(8, popsize(dimension))
    models = ["cobyqa"] if dimension <= 10 else []  # takes hours in more variables
    local = ["powell", "nelder-mead:adaptive=false", "l-bfgs", *models]
    bare = [name for name in PEERS if not missing(name)]
    return [f"cma:popsize={population},restarts=bipop", *local, "nevergrad:NGOpt", *bare]


def solver(spec: str) -> Solver:
    """The solver of a spec, or of another library's optimizer."""
    return Solver(spec, bare=spec in PEERS)


def measure(spec: str, suite: Suite) -> pd.Series:
    """The area under the ECDF on each problem of the suite; see :func:`areas`."""
    units = [run_unit(solver(spec), each, suite.instances, suite) for each in suite.functions]
    return areas(pd.concat(units))


def compare(ours: pd.Series, theirs: pd.Series) -> str:
    """A cell of the table: the peer's area, and an interval of the difference ``auto`` - peer.

    The area is bold where the peer's is larger than that of ``auto``.
    """
    difference, low, high = mean_bootstrap((ours - theirs).to_numpy())
    area = f"{theirs.mean():.3f}"
    return f"{area if difference >= 0 else f'**{area}**'} ({low:+.3f} to {high:+.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all, print the table and, with ``--out``, write it."""
    parser = argparse.ArgumentParser(
        prog="python -m craft_zoo.benchmarks.auto_table",
        description="Area under the ECDF of auto and of its peers, on BBOB. Needs craft-zoo[bbob].",
    )
    parser.add_argument("--dimension", action="append", type=int, help="repeatable (default: 5)")
    parser.add_argument(
        "--budget", action="append", type=int, help="evaluations a dimension; repeatable (50)"
    )
    parser.add_argument("--function", action="append", type=int, help="repeatable (default: 12)")
    parser.add_argument("--suite", choices=SUITES, default="bbob", help="(default: bbob)")
    parser.add_argument("--instances", type=int, default=1, help="of each function (default: 1)")
    parser.add_argument("--peer", action="append", metavar="SPEC", help="repeatable (default: all)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table as Markdown")
    options = parser.parse_args(arguments)
    text = ""
    functions = tuple(options.function or FUNCTIONS)
    for dimension in options.dimension or [5]:
        for budget in options.budget or [50]:
            instances = tuple(range(1, options.instances + 1))
            suite = Suite(dimension, budget, functions, instances, options.suite)
            specs = options.peer or peers(dimension)
            suite.check([solver(spec) for spec in specs])
            ours = measure("auto", suite)
            lines = [
                f"| d = {dimension}, {budget} d | area (interval of `auto` less it) |",
                "|---|---|",
                f"| `auto` | {ours.mean():.3f} |",
            ]
            print("\n".join(lines), flush=True)
            for spec in specs:
                lines.append(f"| `{spec}` | {compare(ours, measure(spec, suite))} |")
                print(lines[-1], flush=True)
            text += "\n".join(lines) + "\n\n"
    if options.out:
        write_atomically(options.out, text)


if __name__ == "__main__":
    main()
