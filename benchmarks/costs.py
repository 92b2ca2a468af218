"""Peak memory and run time of methods, and peak memory of a deployed client.

``python -m craft_zoo.benchmarks.costs --dataset digits`` prints both tables.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd

from craft_zoo.adapter import Adapter
from craft_zoo.benchmarks.grid import RunSpec, combine, cross
from craft_zoo.benchmarks.names import name_datasets
from craft_zoo.benchmarks.runner import Bench, check_tasks
from craft_zoo.benchmarks.speed.machine import peak_memory
from craft_zoo.benchmarks.store import RunStore
from craft_zoo.blackbox import VLM, load_vlm
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, ImageSource, OpenedDatasets, load_dataset
from craft_zoo.machine import one_numpy_thread, use_threads
from craft_zoo.methods import DEFAULT_OPTIMIZER
from craft_zoo.mini import NAME

_MEBIBYTE = 2**20
_METHODS = ("refine", "craft", "anchors", "craft-released")
_IMAGES = 64  # batch size of a deployed client


def measure_costs(vlm: VLM, runs: Sequence[RunSpec], store: RunStore) -> pd.DataFrame:
    """Measure peak memory and seconds of runs, which are executed only for this purpose.

    Args:
        vlm: the model.
        runs: one per data set and method, with a small budget.
        store: receives the runs; it must contain none of them beforehand.

    Returns:
        Columns data set, method, queries, megabytes (peak above the process's memory before the
        run, so without the model; NaN except on Linux), seconds.
    """
    rows = []
    datasets, opened = name_datasets(runs), OpenedDatasets()
    check_tasks(runs, opened)  # opens the data sets outside the measurement
    for run in runs:
        bench = Bench(vlm, store, datasets=opened)
        with peak_memory() as peak:
            (points,) = bench.run([run]).values()
        rows.append(
            {
                "data set": datasets[run].name,
                "method": run.label,
                "queries": points[-1].queries,
                "megabytes": peak.megabytes,
                "seconds": points[-1].seconds,
            }
        )
    return pd.DataFrame(rows)


def measure_deployment(
    adapters: dict[str, Path], load: Callable[[], VLM], images: Sequence[ImageSource]
) -> pd.DataFrame:
    """Compare prediction memory of a black-box client and of a client that runs the model.

    A black-box client holds the adapter and the logits returned for ``images``, and refines them
    in one batch. A white-box client loads the model, encodes the images (in the model's own small
    batches) and scores them.

    Args:
        adapters: name → an adapter's file.
        load: loads the model, as a white-box client would.
        images: one batch.

    Returns:
        Columns name, adapter (file size, MB), client and white_box (peak MB above the process's
        memory after imports; ``client`` is at least the size of the adapter and its arrays),
        ratio (white_box / client).
    """
    rows = []
    for name, path in adapters.items():
        adapter = Adapter.load(path)
        with one_numpy_thread(), peak_memory() as owner:
            answers = adapter.ask(load(), images, keep=False)
        with peak_memory() as client:
            Adapter.load(path).solution.refine(*deepcopy(answers))
        held = path.stat().st_size + sum(each.nbytes for each in answers if each is not None)
        least = held / _MEBIBYTE
        mine = float(np.fmax(client.megabytes, least))
        rows.append(
            {
                "name": name,
                "adapter": path.stat().st_size / _MEBIBYTE,
                "client": mine,
                "white_box": owner.megabytes,
                "ratio": owner.megabytes / mine,
            }
        )
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of method costs and deployment memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--method", action="append", help="repeatable")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--budget", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    use_threads(options.threads)
    vlm, methods = load_vlm(), options.method or list(_METHODS)
    runs = cross(
        NAME,
        [DatasetSpec(options.dataset)],
        combine(methods, [DEFAULT_OPTIMIZER], CraftConfig()),
        shots=[options.shots],
        seeds=[1],
        budgets=[options.budget],
    )
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder))
        print(measure_costs(vlm, runs, store).round(1).to_string(index=False))
        adapters = {run.method: store.adapter_path(run) for run in runs}
        images = load_dataset(options.dataset).test.images[:_IMAGES]
        table = measure_deployment(
            {k: v for k, v in adapters.items() if v.exists()}, load_vlm, images
        )
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main()
