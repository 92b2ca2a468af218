"""Whole runs of craft-zoo and of the released loop, with equal model, task and threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from craft_zoo import mini
from craft_zoo.benchmarks.speed.machine import peak_memory
from craft_zoo.benchmarks.speed.released import released_loop
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Dataset, Task, few_shot, load_dataset
from craft_zoo.errors import CraftZooError
from craft_zoo.machine import one_numpy_thread
from craft_zoo.methods.released import TABLE
from craft_zoo.metrics import accuracy
from craft_zoo.openclip import OpenCLIP
from craft_zoo.tuning import tune

_RELEASED = TABLE["eurosat"]

Predict = Callable[[], np.ndarray]  # logits of the test images, not timed


def measure_runs(
    dataset: str,
    *,
    classnames: str | None = None,
    shots: int = 16,
    budget: int = 8000,
    seeds: int = 3,
    console: Console | None = None,
) -> pd.DataFrame:
    """Measure seconds, accuracy and memory of each implementation ("way") and seed.

    The ways: the released loop; craft-zoo with the same settings; craft-zoo's ``craft`` with the
    network refiner, by ``cma`` and by ``spsa-gc``. Each encodes its training images without a
    cache.
    """
    smallest = _RELEASED.popsize
    if budget < smallest:
        raise CraftZooError(f"a budget of {budget} is too small: give at least {smallest} queries")
    data = load_dataset(dataset, classnames=classnames)
    comparison = _Comparison(data, budget, console)
    with one_numpy_thread():  # also for the released loop; tune sets this itself
        for seed in range(1, seeds + 1):
            comparison.run(few_shot(data, shots, seed), seed)
    return pd.DataFrame(comparison.rows)


class _Comparison:
    """Runs the ways alternately on one model."""

    def __init__(self, data: Dataset, budget: int, console: Console | None) -> None:
        self.model, self.preprocess, self.tokenizer = mini.create()
        self.vlm = OpenCLIP(self.model, self.preprocess, self.tokenizer, name=mini.NAME)
        self.box = self.vlm.classifier(data.classnames)
        self.test_images = self.vlm.images(data.test.images)
        self.budget, self.console = budget, console
        self.rows: list[dict[str, Any]] = []

    def run(self, task: Task, seed: int) -> None:
        """Run every way once."""
        config = _RELEASED.config(self.box.initial_context)
        self._time("released loop", task, seed, self._theirs)
        self._time(
            "ours, same settings", task, seed, partial(self._ours, _RELEASED.optimizer, config)
        )
        for optimizer in ("cma", "spsa-gc"):
            work = partial(self._ours, optimizer, CraftConfig(refiner="network"))
            self._time(f"ours, {optimizer}", task, seed, work)

    def _time(self, way: str, task: Task, seed: int, work: Callable[[Task, int], Predict]) -> None:
        began = time.perf_counter()
        with peak_memory() as peak:
            predict = work(task, seed)
        seconds = time.perf_counter() - began
        row = {
            "way": way,
            "seed": seed,
            "seconds": seconds,
            "accuracy": accuracy(predict(), task.test.labels),
            "megabytes": peak.megabytes,
        }
        self.rows.append(row)
        if self.console:
            self.console.print(
                f"{way}, seed {seed}: {seconds:.1f} s, accuracy {row['accuracy']:.1%}"
            )

    def _ours(self, optimizer: str, config: CraftConfig, task: Task, seed: int) -> Predict:
        tuned = tune(
            self.vlm, task, optimizer=optimizer, budget=self.budget, seed=seed, config=config
        )
        return lambda: tuned.adapter.solution.logits(self.box, self.test_images)

    def _theirs(self, task: Task, seed: int) -> Predict:
        *_, (_, text, net) = released_loop(
            self.model,
            self.preprocess,
            self.tokenizer,
            task.classnames,
            task.train,
            budget=self.budget,
            seed=seed,
        )

        def predict() -> np.ndarray:
            with torch.inference_mode():
                logits = self.model.logit_scale.exp() * self.test_images.features @ text.T
                return (logits + net(logits)).numpy()

        return predict


def runs_table(measured: pd.DataFrame) -> Table:
    """Table of the means over the seeds."""
    table = Table(title="Whole runs, mean over seeds", box=None)
    for column in ("way", "seconds", "times faster", "accuracy", "peak MB"):
        table.add_column(column, justify="left" if column == "way" else "right")
    means = measured.groupby("way", sort=False)[["seconds", "accuracy", "megabytes"]].mean()
    slowest = means["seconds"].max()
    for row in means.itertuples():
        table.add_row(
            str(row.Index),
            f"{row.seconds:.1f}",
            f"{slowest / row.seconds:.1f}",
            f"{row.accuracy:.1%}",
            f"{row.megabytes:.0f}",
        )
    return table
