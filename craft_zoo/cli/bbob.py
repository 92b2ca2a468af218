"""Run optimizers on COCO's BBOB functions and draw the share of targets reached against
evaluations. Run the same command with the same --out to continue after an interruption: finished
runs are not repeated. Needs craft-zoo[bbob].
"""

from __future__ import annotations

import argparse
import math
import os

import pandas as pd
from rich.table import Table

from craft_zoo import optimizers
from craft_zoo.benchmarks import bbob
from craft_zoo.benchmarks.bbob.problems import SUITES
from craft_zoo.cli.arguments import add_out_argument
from craft_zoo.cli.progress import add_bar, query_progress, saying, stopped
from craft_zoo.console import open_console, say
from craft_zoo.errors import CraftZooError

DEFAULT_OUT = "craft-zoo-bbob"
DEFAULT_NEVERGRAD = "nevergrad:OnePlusOne"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--optimizer",
        action="append",
        metavar="SPEC",
        help="as listed by craft-zoo optimizers, with options as in cma:popsize=20; repeatable "
        f"(default: all; {DEFAULT_NEVERGRAD.partition(':')[2]} for nevergrad)",
    )
    parser.add_argument(
        "--bare",
        action="store_true",
        help="also run the bare library behind each optimizer that wraps one",
    )
    parser.add_argument(
        "--suite",
        choices=SUITES,
        default="bbob",
        help="COCO's functions; those of bbob-noisy are noisy, some variables of bbob-mixint whole "
        "numbers (default: bbob)",
    )
    parser.add_argument(
        "--dimension", type=int, help="variables (default: 10; 20 in bbob-largescale)"
    )
    parser.add_argument(
        "--budget",
        type=int,
        default=200,
        help="evaluations per run, as a multiple of the dimension (default: 200)",
    )
    parser.add_argument(
        "--functions", metavar="LIST", help="numbers, as in 1-5,8 (default: all of the suite)"
    )
    parser.add_argument(
        "--instances", default="1-5", metavar="LIST", help="per function (default: 1-5)"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)"
    )
    add_out_argument(parser, DEFAULT_OUT)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    console = open_console()
    specs = list(dict.fromkeys(options.optimizer or _default_specs()))
    solvers = [bbob.Solver(spec) for spec in specs]
    functions, dimensions, _ = SUITES[options.suite]
    suite = bbob.Suite(
        options.dimension or next(each for each in dimensions if each >= 10),
        options.budget,
        _numbers(options.functions, "--functions") if options.functions else tuple(functions),
        _numbers(options.instances, "--instances"),
        options.suite,
    )
    suite.check(solvers)
    if options.bare:
        solvers += [bbob.Solver(spec, bare=True) for spec in specs if bbob.has_bare(spec)]
        without = [spec for spec in specs if not bbob.has_bare(spec)]
        if without:
            say(console, f"No bare library to compare with: {', '.join(without)}")
    total = len(solvers) * len(suite.functions) * len(suite.instances)
    with saying(stopped(options.out)), query_progress() as progress:
        bar = add_bar(progress, "runs", total)
        runtimes = bbob.run(
            suite,
            solvers,
            options.out,
            jobs=options.jobs,
            advance=lambda runs: progress.advance(bar, runs),
        )
    summary, differences = bbob.write_results(runtimes, suite, solvers, options.out)
    console.print(_summary_table(summary, suite))
    if len(differences):
        console.print(_differences_table(differences))
    names = "ecdf.png, groups.png (and .svg), summary.csv, differences.csv, config.json"
    say(console, f"Results in {options.out}: {names}, runtimes-*.csv")
    return 0


def _default_specs() -> list[str]:
    return [name for name in optimizers.names() if name != "nevergrad"] + [DEFAULT_NEVERGRAD]


def _numbers(text: str, flag: str) -> tuple[int, ...]:
    """Parse a list of numbers and ranges: ``1-3,7`` gives (1, 2, 3, 7)."""
    found: dict[int, None] = {}
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            numbers = range(int(first), int(last or first) + 1)
            if not numbers:
                raise ValueError(part)
            found |= dict.fromkeys(numbers)
    except ValueError:
        raise CraftZooError(f"{flag} {text!r} cannot be read: write numbers as in 1-5,8") from None
    return tuple(found)


def _summary_table(summary: pd.DataFrame, suite: bbob.Suite) -> Table:
    title = f"{suite.suite}, d = {suite.dimension}, {suite.evaluations:,} evaluations a run"
    table = _table(title, "solver", "solved to 1e-8", "area under ECDF", "95 % interval")
    for row in summary.itertuples():
        table.add_row(
            row.solver,
            f"{row.solved} of {row.problems}",
            f"{row.area:.3f}",
            _interval(row.low, row.high, ".3f"),
        )
    return table


def _differences_table(differences: pd.DataFrame) -> Table:
    title = "Area through craft-zoo less that of the bare library"
    table = _table(title, "optimizer", "difference", "95 % interval", "same runtimes")
    for row in differences.itertuples():
        table.add_row(
            row.optimizer,
            f"{row.difference:+.3f}",
            _interval(row.low, row.high, "+.3f"),
            f"{row.identical} of {row.problems}",
        )
    return table


def _table(title: str, who: str, *figures: str) -> Table:
    """An empty table with a left-aligned column ``who`` and right-aligned columns of numbers."""
    table = Table(title=title, box=None)
    table.add_column(who, no_wrap=True)
    for figure in figures:
        table.add_column(figure, justify="right", no_wrap=True)
    return table


def _interval(low: float, high: float, form: str) -> str:
    return "" if math.isnan(low) else f"{low:{form}} to {high:{form}}"
