"""Cost of the journal, and gain of executing a grid in parallel processes."""

from __future__ import annotations

import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from craft_zoo.benchmarks.grid import RunSpec, combine, cross
from craft_zoo.benchmarks.processes import run_in_processes
from craft_zoo.benchmarks.runner import Bench
from craft_zoo.benchmarks.store import RunStore
from craft_zoo.blackbox import Journal, ReplayVLM, load_vlm
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, few_shot, load_dataset
from craft_zoo.tuning import tune

OPTIMIZERS = ("logit-gn", "cma")
JOBS = 2


def measure_journal(
    *, budget: int = 2000, repeats: int = 3, console: Console | None = None
) -> pd.DataFrame:
    """Measure a run on digits without a journal, with one, and with one context in flight.

    Returns:
        Columns optimizer, journal, seconds, megabytes (of the journal at the end).
    """
    vlm = load_vlm()
    task = few_shot(load_dataset("digits"), shots=16, seed=1)
    tune(vlm, task, budget=100)  # encodes the images
    rows: list[dict[str, Any]] = []
    for _ in range(repeats):
        for optimizer in OPTIMIZERS:
            run = functools.partial(tune, task=task, optimizer=optimizer, budget=budget)
            for name, in_flight in (("none", 0), ("a generation", None), ("one by one", 1)):
                with tempfile.TemporaryDirectory() as folder:
                    began = time.perf_counter()
                    size = 0
                    if in_flight == 0:
                        run(vlm)
                    else:
                        with Journal(Path(folder) / "journal") as journal:
                            run(ReplayVLM(vlm, journal, in_flight))
                            size = journal.path.stat().st_size
                    seconds = time.perf_counter() - began
                rows.append(
                    {
                        "optimizer": optimizer,
                        "journal": name,
                        "seconds": seconds,
                        "megabytes": size / 2**20,
                    }
                )
                if console:
                    console.print(f"{optimizer}, journal: {name}: {seconds:.1f} s")
    return pd.DataFrame(rows)


def measure_parallel(
    *, budget: int = 1000, seeds: int = 8, repeats: int = 3, console: Console | None = None
) -> pd.DataFrame:
    """Measure a grid of equal runs in one process and in two, with one thread per process.

    The time includes starting the processes and loading the model in each.

    Returns:
        Columns processes, runs, seconds.
    """
    open_vlm = functools.partial(load_vlm, "craft-mini")
    runs = _equal_runs(budget, seeds)
    with tempfile.TemporaryDirectory() as folder:  # fills the cache of image features
        Bench(open_vlm(), RunStore(Path(folder))).run(_equal_runs(100, seeds))
    rows: list[dict[str, Any]] = []
    for _ in range(repeats):
        for jobs in (1, JOBS):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                run_in_processes(open_vlm, RunStore(Path(folder)), runs, jobs=jobs, threads=1)
                seconds = time.perf_counter() - began
            rows.append({"processes": jobs, "runs": len(runs), "seconds": seconds})
            if console:
                console.print(f"{jobs} process(es): {seconds:.1f} s")
    return pd.DataFrame(rows)


def _equal_runs(budget: int, seeds: int) -> list[RunSpec]:
    return cross(
        "craft-mini",
        [DatasetSpec("digits")],
        combine(["craft"], ["logit-gn"], CraftConfig()),
        shots=[16],
        seeds=range(1, seeds + 1),
        budgets=[budget],
    )
