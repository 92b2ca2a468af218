"""Cost of the journal, and gain of executing a grid in parallel processes."""

from __future__ import annotations

import functools
import tempfile
import time
from pathlib import Path

from craft_zoo.benchmarks.grid import RunSpec, combine, cross
from craft_zoo.benchmarks.processes import run_in_processes
from craft_zoo.benchmarks.runner import Bench
from craft_zoo.benchmarks.speed.machine import Rows
from craft_zoo.benchmarks.store import RunStore
from craft_zoo.blackbox import Journal, ReplayVLM, load_vlm
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, few_shot, load_dataset
from craft_zoo.tuning import tune

_REPEATS = 3


def measure_journal() -> Rows:
    """Measure a run on digits without a journal, with one, and with one context in flight.

    The rows have the size of the journal at the end, in megabytes.
    """
    vlm = load_vlm()
    task = few_shot(load_dataset("digits"), shots=16, seed=1)
    tune(vlm, task, budget=100)  # encodes the images
    for _ in range(_REPEATS):
        for optimizer in ("logit-gn", "cma"):
            run = functools.partial(tune, task=task, optimizer=optimizer, budget=2000)
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
                yield {
                    "optimizer": optimizer,
                    "journal": name,
                    "seconds": seconds,
                    "megabytes": size / 2**20,
                }


def measure_parallel() -> Rows:
    """Measure a grid of equal runs in one process and in two, with one thread per process.

    The time includes starting the processes and loading the model in each.
    """
    open_vlm = functools.partial(load_vlm, "craft-mini")
    runs = _equal_runs(1000)
    with tempfile.TemporaryDirectory() as folder:  # fills the cache of image features
        Bench(open_vlm(), RunStore(Path(folder))).run(_equal_runs(100))
    for _ in range(_REPEATS):
        for jobs in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                run_in_processes(open_vlm, RunStore(Path(folder)), runs, jobs=jobs, threads=1)
                seconds = time.perf_counter() - began
            yield {"processes": jobs, "runs": len(runs), "seconds": seconds}


def _equal_runs(budget: int) -> list[RunSpec]:
    return cross(
        "craft-mini",
        [DatasetSpec("digits")],
        combine(["craft"], ["logit-gn"], CraftConfig()),
        shots=[16],
        seeds=range(1, 9),
        budgets=[budget],
    )
