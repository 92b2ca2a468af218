"""Run a grid of data sets x methods x optimizers x shots x seeds on one model and draw accuracy
against queries. Run the same command with the same --out to continue after an interruption:
finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from craft_zoo.benchmarks import (
    DEFAULT_METHODS,
    Plan,
    Point,
    conclusions,
    read_plan,
    read_suite,
    spread,
    suite_names,
    with_price,
    write_results,
)
from craft_zoo.benchmarks.plan_file import plan_and_parts
from craft_zoo.blackbox import Usage
from craft_zoo.blackbox.usage import amount, short_amount
from craft_zoo.cli.arguments import (
    add_classnames_argument,
    add_config_argument,
    add_data_arguments,
    add_in_flight_argument,
    add_model_arguments,
    add_out_argument,
    add_sampling_arguments,
    check_in_flight,
    given_data,
    read_assignments,
    say_refused,
)
from craft_zoo.cli.dry_run import PER_IMAGE, answered_by, dry_run, plan_model
from craft_zoo.cli.execution import add_execution_arguments, check_execution, execute
from craft_zoo.cli.money import unpriced_llm
from craft_zoo.cli.progress import BenchBars, query_progress, saying, stopped
from craft_zoo.client.prices import price_of
from craft_zoo.console import open_console, say
from craft_zoo.counts import counted
from craft_zoo.data import OpenedDatasets
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import DEFAULT_OPTIMIZER, method_names
from craft_zoo.mini import NAME
from craft_zoo.openclip import with_activation
from craft_zoo.printable import printable

DEFAULT_OUT = "craft-zoo-bench"


_LEGEND = (
    "Test accuracy in % at the end and, as area, on average over the queries, by which the methods "
    "are ordered; means over seeds. " + PER_IMAGE
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--plan",
        type=Path,
        metavar="FILE",
        help="the grid as YAML or TOML (docs/benchmarks.md); other arguments override it",
    )
    parser.add_argument(
        "--suite",
        choices=suite_names(),
        metavar="NAME",
        help="a plan that is included, the experiments of a paper; other arguments override it: "
        f"{', '.join(suite_names())}",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the cost of the grid and run nothing; the data sets need not be present",
    )
    parser.add_argument(
        "--optimizer",
        action="append",
        metavar="SPEC",
        help="as listed by craft-zoo optimizers, with options as in cma:popsize=20,sigma=0.5; "
        f"repeatable (default: {DEFAULT_OPTIMIZER})",
    )
    parser.add_argument(
        "--method",
        action="append",
        metavar="NAME",
        help=f"{', '.join(method_names())}; repeatable (default: {' and '.join(DEFAULT_METHODS)})",
    )
    parser.add_argument(
        "--dataset",
        action="append",
        metavar="NAME",
        help="see craft-zoo datasets; your own: folder:PATH; repeatable (default: digits)",
    )
    add_classnames_argument(parser)
    parser.add_argument(
        "--shots",
        action="append",
        type=int,
        help="training images per class; repeatable (default: 16)",
    )
    parser.add_argument("--budget", type=int, help="queries per run (default: 8000)")
    parser.add_argument("--seeds", type=int, help="number of seeds, starting at 1 (default: 3)")
    parser.add_argument(
        "--seed", action="append", type=int, help="a single seed, instead of --seeds; repeatable"
    )
    parser.add_argument(
        "--measured-on",
        choices=("test", "val"),
        help="images that accuracy is measured on: val to choose settings (default: test)",
    )
    parser.add_argument(
        "--transfer",
        action="append",
        metavar="NAME",
        help="another data set that each run's final solution is evaluated on; repeatable",
    )
    add_out_argument(parser, DEFAULT_OUT)
    add_data_arguments(parser)
    add_sampling_arguments(parser)
    add_in_flight_argument(parser)
    add_execution_arguments(parser)
    add_config_argument(parser, several=True)
    add_model_arguments(parser, default=None, otherwise=NAME)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    check_in_flight(options)
    check_execution(options)
    console = open_console()
    plan = _plan(options)
    if options.dry_run:
        return dry_run(plan, options, console)
    datasets = OpenedDatasets()
    model = plan_model(plan, options)
    answer_options = model.open().answer_options if model.options else ""
    names = answered_by(model, answer_options, plan.runs(datasets))
    with saying(stopped(options.out)), query_progress() as progress:
        bars = BenchBars(progress, names)
        curves = execute(options, model, names, datasets, bars)
    if (price := price_of(plan.model, options.price)) is not None:
        # Runs of before may have been made at another price.
        curves |= with_price({run: curves[run] for run in bars.reused}, price)
    summary = write_results(curves, options.out, names)
    for table in _tables(summary):
        console.print(table)
        console.print()
    say(console, _LEGEND)
    say_refused(bars.refusals, console)
    say(console, *_bill([points[-1] for points in curves.values()]))
    say(console, *unpriced_llm({run.method for run in curves}, options.price))
    say(console, *conclusions(curves, names, options.out))
    if bars.reused:
        say(console, f"{len(bars.reused)} of {len(names)} runs were in {options.out} already.")
    files = "curves.png, curves.svg, curves.csv, summary.csv, config.json, runs/"
    say(console, f"Results in {options.out}: {files}")
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    """The plan from its file or suite, overridden by the command line."""
    if options.seeds is not None and options.seeds < 1:
        raise CraftZooError(f"at least 1 seed is needed, not {options.seeds}: raise --seeds")
    if options.seeds is not None and options.seed is not None:
        raise CraftZooError("--seeds says how many and --seed which: give one of them")
    if options.plan is not None and options.suite is not None:
        raise CraftZooError("--suite is a plan itself: give it or --plan")
    source, values = "the command line", {}
    if options.plan is not None:
        source, values = str(options.plan), read_plan(options.plan)
    elif options.suite is not None:
        source, values = f"suite {options.suite}", read_suite(options.suite)
    given = {
        "model": options.model,
        "pretrained": options.pretrained,
        "datasets": options.dataset,
        "methods": options.method,
        "optimizers": options.optimizer,
        "shots": options.shots,
        "seeds": options.seed or options.seeds,
        "budgets": options.budget,
        "per_image": options.per_image,
        "measured_on": options.measured_on,
        "transfer": options.transfer,
    }
    given = {key: value for key, value in given.items() if value is not None} | given_data(options)
    implied = {"budgets": "budgets_by_shots", "model": "pretrained"}
    taken = {*given, *(other for key, other in implied.items() if key in given)}
    for each in plan_and_parts(values):
        for key in taken:
            each.pop(key, None)
    values |= given
    if options.quickgelu is not None:
        for each in plan_and_parts(values):
            if each is values or "model" in each:
                model = str(each.get("model", NAME))
                each["model"] = with_activation(model, options.quickgelu)
    plan = Plan.of(values, source)
    if options.classnames is not None:
        values["datasets"] = [
            entry.model_dump(exclude_unset=True) | {"classnames": options.classnames}
            for entry in plan.datasets
        ]
    values["settings"] = plan.settings | read_assignments(options)
    return Plan.of(values, source)


def _bill(ends: Sequence[Point]) -> list[str]:
    """A sentence on what the runs asked for and its price, if a price or units are known.

    Args:
        ends: the last point of each run.
    """
    used = sum((end.usage for end in ends), Usage())
    costs = [(end.cost, end.evaluation_cost) for end in ends if not math.isnan(end.cost)]
    if not costs and replace(used, predictions=0) == Usage():
        return []
    words = f"Search and refiner asked for {used.in_words()}"
    if costs:
        searched, measured = map(sum, zip(*costs, strict=True))
        words += f", a price of {amount(searched)}"
        if not math.isnan(measured):
            words += f", and measuring the accuracy for {amount(measured)}"
        if unknown := len(ends) - len(costs):
            words += f" (without {counted(unknown, 'run')} whose price is not known)"
    return [f"{words}."]


def _tables(summary: pd.DataFrame) -> Iterator[Table]:
    """A table of each task for 80 columns, in descending order of the area under the curve."""
    widest = min(24, max(cell_len(printable(label)) for label in summary["label"]))
    ranked = summary.sort_values("area", ascending=False, kind="stable")
    for _, group in ranked.groupby(["dataset", "shots"], sort=False):
        first = group.iloc[0]
        title = printable(f"{first['data_name']}, {counted(int(first['shots']), 'shot')}")
        table = Table(title=Text(title), title_justify="left", box=None, padding=(0, 1, 0, 0))
        table.add_column("method", min_width=widest, overflow="fold")
        around = "95 % interval" if group["low"].notna().any() else "each seed"
        last = "price" if group["cost"].notna().any() else "seconds"
        for column in ("accuracy", around, "area", "queries", "per\nimage", last):
            table.add_column(column, justify="right", overflow="fold")
        for row in group.itertuples():
            table.add_row(
                Text(printable(row.label)),
                f"{100 * row.accuracy:.1f}",
                spread(row.low, row.high, row.singles),
                f"{100 * row.area:.1f}",
                f"{row.queries:,.0f}",
                f"{row.image_predictions:.1f}",
                short_amount(row.cost) if last == "price" else f"{row.seconds:,.0f}",
            )
        yield table
