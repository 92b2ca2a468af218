"""``craft-zoo study``: every method on several tasks, ablations and costs, as one page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pandas as pd

from craft_zoo.benchmarks import RunSpec, RunStore, name_datasets, study
from craft_zoo.cli.arguments import (
    add_in_flight_argument,
    add_model_arguments,
    add_out_argument,
    check_in_flight,
    open_model,
)
from craft_zoo.cli.bars import BenchBars
from craft_zoo.cli.execution import add_execution_arguments, check_execution, execute
from craft_zoo.cli.progress import query_progress, saying, stopped
from craft_zoo.console import open_console
from craft_zoo.data import load_dataset
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import model_name, with_activation

DEFAULT_OUT = "craft-zoo-study"
_COST_BUDGET = 400
_DEPLOYED = ("refine", "craft", "anchors", "craft-released")
_BATCH = 64  # images that a deployed client predicts together


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "study",
        help="every method on several tasks, ablations and costs, as one page",
        description="Run every method on every data set with 1, 4 and 16 shots, ablations of "
        "craft, and measurements of memory and time; write study.md with tables and figures. The "
        "same command on the same --out goes on where it was stopped.",
    )
    parser.add_argument(
        "--dataset",
        action="append",
        metavar="NAME[,FILE]",
        help="digits or folder:PATH, with a file of class names as for craft-zoo bench; repeatable "
        "(default: digits)",
    )
    parser.add_argument(
        "--method",
        action="append",
        metavar="NAME",
        help=f"repeatable (default: {', '.join(study.METHODS)}); {study.SLOW_METHOD} is not among "
        "them, as each of its queries reads all training images anew",
    )
    parser.add_argument(
        "--shots",
        action="append",
        type=int,
        help=f"repeatable (default: {', '.join(map(str, study.SHOTS))})",
    )
    parser.add_argument("--budget", type=int, default=8000, help="queries a run (default: 8000)")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 1 on (default: 3)")
    parser.add_argument("--no-ablations", action="store_true", help="leave the ablations out")
    add_out_argument(parser, DEFAULT_OUT)
    add_in_flight_argument(parser)
    add_execution_arguments(parser)
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry the command out."""
    check_in_flight(options)
    check_execution(options)
    for name in ("seeds", "budget"):
        if getattr(options, name) < 1:
            raise CraftZooError(f"--{name} must be at least 1, not {getattr(options, name)}")
    tasks = [_task(text) for text in options.dataset or ["digits"]]
    shots, seeds = options.shots or study.SHOTS, range(1, options.seeds + 1)
    model = model_name(with_activation(options.model, options.quickgelu), options.pretrained)
    main = study.main_grid(
        model,
        tasks,
        methods=options.method or study.METHODS,
        shots=shots,
        seeds=seeds,
        budget=options.budget,
    )
    names: dict[RunSpec, str] = {}
    if not options.no_ablations:
        names = study.ablation_grid(
            model, tasks, shots=max(shots), seeds=seeds, budget=options.budget
        )
    grid = dict.fromkeys(main, "") | names
    with query_progress() as progress:
        bars = BenchBars(progress, grid)
        with saying(progress, stopped(options.out)):
            curves = execute(options, grid, bars)
    vlm = open_model(options)
    console = open_console()
    console.print("Measuring memory and time")
    # One run a data set and method says what they cost.
    singles = [run for run in main if run.shots == max(shots) and run.seed == seeds[0]]
    costs = study.measure_costs(vlm, [study.shortened(run, _COST_BUDGET) for run in singles])
    deployment = _deployment(options, singles, RunStore(options.out))
    page = study.write_report(
        {run: curves[run] for run in main},
        {run: curves[run] for run in names},
        names,
        costs,
        deployment,
        options.out,
    )
    console.print(f"The study is {page}, with its tables as CSV beside it.", soft_wrap=True)
    return 0


def _task(text: str) -> study.StudyTask:
    dataset, _, classnames = text.partition(",")
    return study.StudyTask(dataset, classnames or None)


def _deployment(
    options: argparse.Namespace, runs: Sequence[RunSpec], store: RunStore
) -> pd.DataFrame:
    """Of the adapters that runs have left, on test images."""
    measured = []
    names = name_datasets(runs)
    for dataset, classnames in dict.fromkeys((run.dataset, run.classnames) for run in runs):
        adapters = {
            f"{names[run].name}, {run.method}": store.adapter_path(run)
            for run in runs
            if (run.dataset, run.classnames) == (dataset, classnames) and run.method in _DEPLOYED
        }
        images = load_dataset(dataset, classnames=classnames).test.images[:_BATCH]
        measured.append(study.measure_deployment(adapters, lambda: open_model(options), images))
    return pd.concat(measured, ignore_index=True)
