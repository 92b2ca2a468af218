"""``craft-zoo bench --dry-run``: what a grid would ask for."""

from __future__ import annotations

import argparse

import pandas as pd
from rich.console import Console
from rich.table import Table

from craft_zoo.benchmarks import Plan, RunStore, forecast
from craft_zoo.blackbox import VLM
from craft_zoo.cli.arguments import open_model
from craft_zoo.errors import CraftZooError


def dry_run(plan: Plan, options: argparse.Namespace, console: Console) -> int:
    """Print runs, queries, predictions, time and money; ask nothing and write nothing.

    Raises:
        CraftZooError: the plan is wrong, or a data set is neither here nor one of the field's.
    """
    if options.price is not None and options.price < 0:
        raise CraftZooError(f"--price must not be negative, it is {options.price}")
    options.model, options.pretrained = plan.model, plan.pretrained
    vlm, why = _opened(options)
    try:
        runs, here = plan.runs(), True
    except CraftZooError:
        runs, here = plan.runs(look=False), False
    finished = {}
    if here and (options.out / "runs").is_dir():
        curves, _ = RunStore(options.out).read_all()
        known = {run.identity: points[-1].seconds for run, points in curves.items()}
        finished = {run: known[run.identity] for run in runs if run.identity in known}
    table = forecast(runs, vlm=vlm, finished=finished)
    console.print(_shown(table, options.price))
    for note in _notes(table, options.price, vlm, why, here):
        console.print(note, soft_wrap=True, markup=False)
    return 0


def _opened(options: argparse.Namespace) -> tuple[VLM | None, str]:
    """The model, or why it cannot be opened."""
    try:
        vlm = open_model(options)
    except CraftZooError as error:
        return None, str(error)
    # Nothing is asked in a dry run, least of all of a model that bills.
    return (None, f"asking {vlm.name} would be billed") if vlm.bills else (vlm, "")


_TITLES = {
    "dataset": "data set",
    "shots": "shots",
    "method": "method",
    "optimizer": "optimizer",
    "runs": "runs",
    "done": "done",
    "queries": "queries",
    "predictions": "predictions",
    "evaluation": "evaluation",
}


def _shown(table: pd.DataFrame, price: float | None) -> Table:
    shown = Table(title="At most, of the runs that are not done", box=None)
    for column, title in _TITLES.items():
        left = column in ("dataset", "method", "optimizer")
        shown.add_column(title, justify="left" if left else "right", no_wrap=left)
    shown.add_column("time", justify="right", no_wrap=True)
    if price is not None:
        shown.add_column("price", justify="right", no_wrap=True)
    total = table[["runs", "done", "queries", "predictions", "evaluation", "seconds"]].sum()
    for row in table.to_dict("records"):
        shown.add_row(*_cells(row, price))
    everything = {"dataset": "together", "shots": "", "method": "", "optimizer": ""}
    seconds = float("nan") if table["seconds"].isna().all() else total["seconds"]
    shown.add_row(*_cells({**everything, **total, "seconds": seconds}, price), style="bold")
    return shown


def _cells(row: dict, price: float | None) -> list[str]:
    cells = [row[c] if isinstance(row[c], str) else _count(row[c]) for c in _TITLES]
    cells.append(_duration(row["seconds"]))
    if price is not None:
        cells.append(f"{price * (row['predictions'] + row['evaluation']) / 1000:,.2f}")
    return cells


def _count(value: float) -> str:
    return f"{value:,.0f}" if value < 10_000_000 else f"{value / 1e6:,.0f} M"


def _duration(seconds: float) -> str:
    if seconds != seconds:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _notes(
    table: pd.DataFrame, price: float | None, vlm: VLM | None, why: str, here: bool
) -> list[str]:
    notes = ["Predictions are of the search; evaluation is what measuring the curves asks for."]
    if price is not None:
        notes.append("The price is of both; a model on this machine costs nothing.")
    if vlm is None:
        notes.append(f"Time is not known: {why}")
    else:
        notes.append(
            "Time is that of the model in one process on this machine, measured on a few prompts "
            "and images; optimizer and refiner come on top."
        )
    if not here:
        absent = ", ".join(table[~table["here"]]["dataset"].unique())
        notes.append(f"Not here, so by their published sizes: {absent}.")
    return notes
