"""Whole runs of craft-zoo and of the released loop, with equal model, task and threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from craft_zoo import mini
from craft_zoo.benchmarks.speed.machine import Rows, peak_memory
from craft_zoo.benchmarks.speed.released import released_loop
from craft_zoo.blackbox.base import BlackBox, ImageSet, Progress, Prompts
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.blackbox.wrappers import WrappedBlackBox, WrappedVLM
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Task, few_shot, load_dataset
from craft_zoo.data.images import ImageSource
from craft_zoo.machine import one_numpy_thread
from craft_zoo.methods import earlier_own_settings, read_settings
from craft_zoo.metrics import accuracy
from craft_zoo.openclip import OpenCLIP
from craft_zoo.tuning import tune

Predict = Callable[[], np.ndarray]  # logits of the test images, not timed
WAYS = ("released loop", "ours, same settings", "ours, cma", "ours, spsa-gc", "ours, default")


class _Clocked(WrappedVLM):
    """A model whose own processor time is measured.

    Attributes:
        seconds: processor time for images and scores.
    """

    seconds = 0.0

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageSet:
        """See :meth:`VLM.images`."""
        began = time.process_time()
        handed = super().images(images, progress, keep=keep)
        self.seconds += time.process_time() - began
        return handed

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        return _ClockedBox(super().classifier(classnames, init), self)


class _ClockedBox(WrappedBlackBox):
    """A black box whose processor time is added to that of its model."""

    def __init__(self, box: BlackBox, clock: _Clocked) -> None:
        super().__init__(box)
        self._clock = clock

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`."""
        answers = self._box.logits(prompts, images)
        while True:
            began = time.process_time()
            answer = next(answers, None)
            self._clock.seconds += time.process_time() - began
            if answer is None:
                return
            yield answer


def measure_runs(
    dataset: str,
    *,
    classnames: str | None = None,
    shots: int = 16,
    budget: int = 8000,
    seeds: int = 3,
    only: Sequence[str] = WAYS,
) -> Rows:
    """Measure seconds, accuracy and memory of each implementation ("way") and seed.

    The ways: the released loop; craft-zoo with the same settings; craft-zoo's ``craft`` with the
    network refiner, by ``cma`` and by ``spsa-gc``; ``craft`` with its defaults. They take turns on
    one model, and each encodes its training images without a cache. ``processor`` is processor
    time, ``beyond`` the part of it outside the model (images and scores).
    """
    data = load_dataset(dataset, classnames=classnames)
    model, preprocess, tokenizer = mini.create()
    vlm = OpenCLIP(model, preprocess, tokenizer, name=mini.NAME)
    box, test_images = vlm.classifier(data.classnames), vlm.images(data.test.images)
    clocked = _Clocked(vlm)

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
        tuned = tune(clocked, task, budget=budget, seed=seed, **how)
        return lambda: tuned.adapter.solution.logits(box, test_images)

    def ours_same(task: Task, seed: int) -> Predict:
        """The settings of EuroSAT, as in the released loop, without the code's other habits."""
        config = read_settings(earlier_own_settings("craft-released"))
        return ours(replace(task, name="eurosat"), seed, method="craft-released", config=config)

    network = CraftConfig(refiner="network")
    ways: dict[str, Callable[[Task, int], Predict]] = {
        WAYS[0]: theirs,
        WAYS[1]: ours_same,
        WAYS[2]: partial(ours, optimizer="cma", config=network),
        WAYS[3]: partial(ours, optimizer="spsa-gc", config=network),
        WAYS[4]: ours,
    }
    with one_numpy_thread():  # also for the released loop; tune sets this itself
        for seed in range(1, seeds + 1):
            task = few_shot(data, shots, seed)
            for way, work in ways.items():
                if way not in only:
                    continue
                clocked.seconds = 0.0
                began, worked = time.perf_counter(), time.process_time()
                with peak_memory() as peak:
                    predict = work(task, seed)
                worked = time.process_time() - worked
                yield {
                    "way": way,
                    "seed": seed,
                    "seconds": time.perf_counter() - began,
                    "processor": worked,
                    "beyond": float("nan") if work is theirs else worked - clocked.seconds,
                    "accuracy": accuracy(predict(), task.test.labels),
                    "megabytes": peak.megabytes,
                }
