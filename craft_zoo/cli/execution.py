"""Executes a grid in this process, in several processes, or on a Ray cluster."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from craft_zoo.benchmarks import (
    Bench,
    Listener,
    Listeners,
    Point,
    RunSpec,
    RunStore,
    run_in_processes,
    run_on_ray,
    write_config,
)
from craft_zoo.benchmarks.runner import check_backgrounds, check_opened, check_tasks
from craft_zoo.benchmarks.tensorboard import TensorBoard
from craft_zoo.blackbox import ModelSpec
from craft_zoo.cli.arguments import say_skipped
from craft_zoo.console import open_console
from craft_zoo.data import OpenedDatasets
from craft_zoo.errors import CraftZooError


def add_execution_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --jobs, --executor, the resources of each run, and --log-to."""
    group = parser.add_argument_group("execution")
    group.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="number of runs at a time, each in its own process with a copy of the model and an "
        "equal share of the cores, or --threads of them (default: 1)",
    )
    group.add_argument(
        "--executor",
        metavar="ray[:ADDRESS]",
        help="run on a Ray cluster (extra 'ray'): the one at ADDRESS, 'auto' for this machine's; "
        "without an address, a new one on this machine",
    )
    group.add_argument(
        "--cpus-per-run", type=int, default=1, metavar="N", help="CPUs of a Ray task (default: 1)"
    )
    group.add_argument(
        "--gpus-per-run", type=float, default=0, metavar="N", help="GPUs of a Ray task (default: 0)"
    )

    group.add_argument(
        "--log-to",
        choices=("tensorboard",),
        help="also write each measured point to OUT/tensorboard (extra 'tensorboard')",
    )


def check_execution(options: argparse.Namespace) -> None:
    """Check the arguments of :func:`add_execution_arguments`.

    Raises:
        CraftZooError: a value is out of range, or arguments contradict each other.
    """
    if options.jobs < 1:
        raise CraftZooError(f"at least 1 job is needed, not {options.jobs}: raise --jobs")
    if options.executor is not None:
        if options.executor.partition(":")[0] != "ray":
            raise CraftZooError(f"unknown executor {options.executor!r}: write ray or ray:ADDRESS")
        if options.jobs > 1:
            raise CraftZooError("--jobs cannot be combined with --executor: leave out one of them")
    if options.jobs > 1 or options.executor is not None:
        for name, limit in (
            ("--max-predictions", options.max_predictions),
            ("--max-cost", options.max_cost),
        ):
            if limit is not None:
                raise CraftZooError(
                    f"each process counts {name} alone, so several could exceed it: leave out "
                    f"--jobs and --executor, or have the model's owner set a quota"
                )
    if options.cpus_per_run < 1 or options.gpus_per_run < 0:
        raise CraftZooError(
            "a run needs 1 CPU or more and 0 GPUs or more: raise --cpus-per-run or --gpus-per-run"
        )


def execute(
    options: argparse.Namespace,
    model: ModelSpec,
    grid: Mapping[RunSpec, str],
    datasets: OpenedDatasets,
    listener: Listener,
) -> dict[RunSpec, list[Point]]:
    """Execute a grid and write the results to the folder ``--out``.

    Args:
        options: parsed arguments.
        model: the model that the runs adapt.
        grid: the runs and the names of their variants.
        datasets: the data sets opened so far.
        listener: receives the progress of the runs.
    """
    runs = list(grid)
    check_tasks(runs, datasets)  # errors are found before the model is loaded
    for name, skipped in datasets.skipped().items():
        say_skipped(name, skipped, open_console())
    store = RunStore(options.out)
    common: dict[str, Any] = {"in_flight": options.in_flight, "datasets": datasets}
    bench = None
    if options.executor is None and options.jobs == 1:
        bench = Bench(model.open(), store, **common)
        check_backgrounds(runs, bench.vlm)
    else:
        check_opened(model.open, store, runs)
    # For reports on an unfinished grid; not before the model was found to be the runs'.
    write_config(runs, options.out, grid)
    if options.log_to == "tensorboard":
        board: Any = TensorBoard(store.folder / "tensorboard")
        listener = Listeners(listener, board)
    if bench is not None:
        return bench.run(runs, listener)
    common |= {"listener": listener, "checked": True}
    if options.executor is not None:
        return run_on_ray(
            model.open,
            store,
            runs,
            address=options.executor.partition(":")[2] or None,
            cpus=options.cpus_per_run,
            gpus=options.gpus_per_run,
            **common,
        )
    return run_in_processes(
        model.open, store, runs, jobs=options.jobs, threads=options.threads, **common
    )
