"""``craft-zoo bench --dry-run``: estimated cost of a grid."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from craft_zoo.benchmarks import Plan, RunSpec, RunStore, estimate_costs
from craft_zoo.benchmarks.grid import NO_OPTIMIZER, short_name
from craft_zoo.benchmarks.runner import check_backgrounds, check_tasks
from craft_zoo.blackbox import VLM, ModelSpec, Price, Usage, is_address
from craft_zoo.blackbox.usage import UNITS, amount, unit_in_words
from craft_zoo.cli.arguments import read_model
from craft_zoo.cli.money import unpriced_llm
from craft_zoo.client.prices import price_of
from craft_zoo.console import say
from craft_zoo.data import OpenedDatasets
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable
from craft_zoo.rehearsal import check_start


def dry_run(plan: Plan, options: argparse.Namespace, console: Console) -> int:
    """Print runs, queries, predictions, time and price; send no query and write no file.

    Raises:
        CraftZooError: the plan is invalid, or a data set is neither present nor a published one.
    """
    model = plan_model(plan, options)
    opened, why = _opened(model)
    # Measuring the speed of a model that bills would cost money.
    vlm = None if opened is None or opened.bills else opened
    service = opened if opened is not None and opened.counts_usage else None
    price = price_of(plan.model, options.price)
    datasets = OpenedDatasets()
    try:
        runs, here = plan.runs(datasets), True
    except CraftZooError:
        runs, here = plan.runs(look=False), False
    runs = answered_by(model, service.answer_options if service else "", runs)
    if here:
        check_tasks(runs, datasets)
        _check_starts(runs, datasets)
    if opened is not None:
        check_backgrounds(runs, opened)
    finished: set[RunSpec] = set()
    if here and (options.out / "runs").is_dir():
        curves, _ = RunStore(options.out).read_all()
        known = {run.identity for run in curves}
        finished = {run for run in runs if run.identity in known}
    table = estimate_costs(runs, vlm=vlm, service=service, finished=finished, opened=datasets)
    console.print(_shown(table, price))
    notes = _notes(table, price, vlm, why, here)
    say(console, *_totals(table, price), *notes, *unpriced_llm(table["method"], price))
    return 0


def _check_starts(runs: Iterable[RunSpec], datasets: OpenedDatasets) -> None:
    """Check that each run would begin, with any of its seeds and shots.

    Raises:
        CraftZooError: one would not, as a setting or the budget does not suit.
    """
    for run in {replace(run, seed=0, shots=1): None for run in runs}:
        check_start(
            run.method,
            run.optimizer,
            run.config,
            budget=run.budget,
            classnames=datasets.open(run.dataset).classnames,
            name=short_name(run.dataset.name),
        )


def plan_model(plan: Plan, options: argparse.Namespace) -> ModelSpec:
    """The model of a plan, with the settings of the command line."""
    return replace(read_model(options), model=plan.model, pretrained=plan.pretrained)


def answered_by(
    model: ModelSpec, answer_options: str, runs: Mapping[RunSpec, str]
) -> dict[RunSpec, str]:
    """A plan's runs with what changes the model's answers, and the names of their variants."""
    # The owner of a model at an address chooses its precision.
    precision: Any = "fp32" if is_address(model.model) else model.precision
    changes = {"answer_options": answer_options, "precision": precision}
    return {replace(run, **changes): name for run, name in runs.items()}


def _opened(spec: ModelSpec) -> tuple[VLM | None, str]:
    """The model, if it can be opened, and why its speed is not measured, if it is not."""
    try:
        vlm = spec.open()
    except CraftZooError as error:
        return None, str(error)
    return vlm, f"asking {vlm.name} would be billed" if vlm.bills else ""


PER_IMAGE = (  # of tables
    "Per image: what a deployed image costs, in predictions of all C classes. M anchors cost M / C "
    "more; a service bills one prediction for each prompt that they are asked with."
)
_COUNTS = ("queries", "predictions", "evaluation")


def _shown(table: pd.DataFrame, price: Price | None) -> Table:
    """Table with a row for each task and method; only names are wrapped on a narrow terminal."""
    shown = Table(title="At most, of the runs that are not done", box=None, padding=(0, 1, 0, 0))
    for title in ("data set, shots", "method"):
        shown.add_column(title, overflow="fold")
    money = ["price"] if price is not None else []
    for title in ("runs", *_COUNTS, "per image", "time", *money):
        shown.add_column(title, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        optimizer = "" if row["optimizer"] == NO_OPTIMIZER else f" ({row['optimizer']})"
        done = f"{row['done']} of " if row["done"] else ""
        shown.add_row(
            Text(f"{row['dataset']}, {row['shots']}"),
            Text(printable(row["method"] + optimizer)),
            f"{done}{row['runs']}",
            *(_short(row[name]) for name in _COUNTS),
            f"{row['per_image']:.1f}",
            _duration(row["seconds"]),
            *([amount(_price(row, price))] if price is not None else []),
        )
    return shown


def _totals(table: pd.DataFrame, price: Price | None) -> list[str]:
    """Totals, one number on each line to fit narrow terminals."""
    total = table[["runs", "done", *_COUNTS, *UNITS]].sum().to_dict()
    seconds = float("nan") if table["seconds"].isna().all() else table["seconds"].sum()
    lines = [f"runs {total['runs']:,}" + (f", {total['done']:,} done" if total["done"] else "")]
    lines += [f"{name} {total[name]:,}" for name in _COUNTS]
    lines += [f"{unit_in_words(name)} {total[name]:,}" for name in UNITS if total[name]]
    lines += [f"time {_duration(seconds)}"]
    lines += [] if price is None else [f"price {amount(_price(total, price))}"]
    return ["Together, at most:", *(f"  {line}" for line in lines)]


def _price(row: dict, price: Price) -> float:
    units = {name: row[name] for name in UNITS}
    return price.cost(Usage(predictions=row["predictions"] + row["evaluation"], **units))


def _short(value: int) -> str:
    """A number in at most seven characters, with the unit k, M or G from 100,000 on."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= 1000 * size or (value >= 100 * size and size == 10**3):
            return f"{value / size:,.0f} {unit}"
        if value >= size and size > 10**3:
            return f"{value / size:.1f} {unit}"
    return f"{value:,}"


def _duration(seconds: float) -> str:
    if seconds != seconds:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _notes(
    table: pd.DataFrame, price: Price | None, vlm: VLM | None, why: str, here: bool
) -> list[str]:
    notes = [
        "Predictions: of search and refiner. Evaluation: predictions for measuring the curves, if "
        "all queries are made. " + PER_IMAGE
    ]
    if price is not None:
        notes.append("The price includes evaluation; a model on this machine costs nothing.")
    if vlm is None:
        notes.append(f"Time is not known: {why}")
    else:
        notes.append(
            "Time is that of the model in one process on this machine, measured on a few prompts "
            "and images, with the images that a method alters; optimizer, refiner and the "
            "altering come on top."
        )
    if not here:
        absent = ", ".join(table[~table["here"]]["dataset"].unique())
        notes.append(f"Not on this machine, and counted by their published sizes: {absent}.")
    return notes
