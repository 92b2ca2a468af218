"""Whole runs of craft-zoo and of the released loop, with equal model, task and threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from craft_zoo import mini
from craft_zoo.benchmarks.speed.machine import Rows, peak_memory
from craft_zoo.benchmarks.speed.released import released_loop
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Task, few_shot, load_dataset
from craft_zoo.machine import one_numpy_thread
from craft_zoo.methods import earlier_own_settings, read_settings
from craft_zoo.metrics import accuracy
from craft_zoo.openclip import OpenCLIP
from craft_zoo.tuning import tune

Predict = Callable[[], np.ndarray]  # logits of the test images, not timed


def measure_runs(
    dataset: str,
    *,
    classnames: str | None = None,
    shots: int = 16,
    budget: int = 8000,
    seeds: int = 3,
) -> Rows:
    """Measure seconds, accuracy and memory of each implementation ("way") and seed.

    The ways: the released loop; craft-zoo with the same settings; craft-zoo's ``craft`` with the
    network refiner, by ``cma`` and by ``spsa-gc``. They take turns on one model, and each encodes
    its training images without a cache.
    """
    data = load_dataset(dataset, classnames=classnames)
    model, preprocess, tokenizer = mini.create()
    vlm = OpenCLIP(model, preprocess, tokenizer, name=mini.NAME)
    box, test_images = vlm.classifier(data.classnames), vlm.images(data.test.images)

    def theirs(task: Task, seed: int) -> Predict:
        *_, (_, text, net) = released_loop(
            model, preprocess, tokenizer, task.classnames, task.train, budget=budget, seed=seed
        )

        def predict() -> np.ndarray:
            with torch.inference_mode():
                logits = model.logit_scale.exp() * test_images.features @ text.T
                return (logits + net(logits)).numpy()

        return predict

    def ours(task: Task, seed: int, **how: Any) -> Predict:
        tuned = tune(vlm, task, budget=budget, seed=seed, **how)
        return lambda: tuned.adapter.solution.logits(box, test_images)

    def ours_same(task: Task, seed: int) -> Predict:
        """The settings of EuroSAT, as in the released loop, without the code's other habits."""
        config = read_settings(earlier_own_settings("craft-released"))
        return ours(replace(task, name="eurosat"), seed, method="craft-released", config=config)

    network = CraftConfig(refiner="network")
    ways: dict[str, Callable[[Task, int], Predict]] = {
        "released loop": theirs,
        "ours, same settings": ours_same,
        "ours, cma": partial(ours, optimizer="cma", config=network),
        "ours, spsa-gc": partial(ours, optimizer="spsa-gc", config=network),
    }
    with one_numpy_thread():  # also for the released loop; tune sets this itself
        for seed in range(1, seeds + 1):
            task = few_shot(data, shots, seed)
            for way, work in ways.items():
                began = time.perf_counter()
                with peak_memory() as peak:
                    predict = work(task, seed)
                yield {
                    "way": way,
                    "seed": seed,
                    "seconds": time.perf_counter() - began,
                    "accuracy": accuracy(predict(), task.test.labels),
                    "megabytes": peak.megabytes,
                }
