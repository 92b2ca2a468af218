"""Cost of a run of the default method with many classes: time, memory and size of the journal."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from craft_zoo import mini
from craft_zoo.benchmarks.speed.machine import Rows, peak_memory
from craft_zoo.benchmarks.speed.scoring import random_names
from craft_zoo.blackbox import Journal, ReplayVLM
from craft_zoo.blackbox.base import Progress
from craft_zoo.data.images import ImageSource
from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError
from craft_zoo.machine import one_numpy_thread
from craft_zoo.methods import Problem, get_method
from craft_zoo.metrics import accuracy
from craft_zoo.openclip.classifier import ImageFeatures
from craft_zoo.openclip.model import OpenCLIP
from craft_zoo.seeding import generator

_OF_CLASS, _OF_IMAGE = 4.0, 9.0  # lengths of the draws; features of a text have length 1
_TEST_SHOTS = 2
# Classes, shots and queries of the runs that show how cost grows with one of them.
_GROWTH = {
    "classes": [(10, 4, 41), (30, 4, 41), (100, 4, 41)],
    "images": [(10, 8, 41), (10, 32, 41), (10, 128, 41), (10, 512, 41)],
    "queries": [(10, 16, 101), (10, 16, 401), (10, 16, 1601)],
}


class _Simulated(OpenCLIP):
    """craft-mini with drawn image features: an image is an array with the label of its class.

    The features of an image are the sum of its class name's features, a normal draw for its class
    and a normal draw for the image. Encoding 16,000 real images would take most of a measurement.
    """

    def __init__(self, classnames: Sequence[str]) -> None:
        model, preprocess, tokenizer = mini.create()
        super().__init__(model, preprocess, tokenizer, name=mini.NAME)
        texts = torch.from_numpy(self.text_features([f"a photo of a {c}." for c in classnames]))
        self._rng = generator(0, "simulated features")
        self._of_class = texts + self._draw(len(texts), texts.shape[1], _OF_CLASS)

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageFeatures:
        """Draw features; each image is an array of its label."""
        labels = torch.tensor([int(np.asarray(image)[0, 0]) for image in images])
        of_class = self._of_class[labels]
        features = F.normalize(of_class + self._draw(len(labels), of_class.shape[1], _OF_IMAGE))
        return ImageFeatures(features, self, list(images))

    def _draw(self, rows: int, columns: int, length: float) -> torch.Tensor:
        drawn = self._rng.standard_normal((rows, columns), dtype=np.float32)
        return torch.from_numpy(drawn * length / columns**0.5)


def measure_large(n_classes: int = 1000, shots: int = 4, queries: int = 100) -> dict[str, Any]:
    """Measure ``craft`` with its defaults on craft-mini and a synthetic task.

    Args:
        n_classes: C.
        shots: training images of each class.
        queries: the budget.

    Returns:
        Seconds and seconds of processor time a query, everything from the first query to the last
        step included; peak MB above the model; MB of the journal; test accuracy in % of
        zero-shot prediction and of the last step.
    """
    if min(n_classes, shots, queries) < 1:
        raise CraftZooError("classes, shots and queries must be at least 1: give larger numbers")
    classnames = random_names(n_classes)
    vlm = _Simulated(classnames)
    labels = np.arange(n_classes).repeat(shots)
    pictures = [np.full((1, 1), label) for label in range(n_classes)]
    test_labels = np.arange(n_classes).repeat(_TEST_SHOTS)
    test_images = vlm.images([pictures[label] for label in test_labels])
    box = vlm.classifier(classnames)
    with (
        tempfile.TemporaryDirectory() as folder,
        peak_memory() as peak,
        Journal(Path(folder) / "journal") as journal,
    ):
        problem = Problem.open(
            ReplayVLM(vlm, journal),
            classnames,
            LabelledImages([pictures[label] for label in labels], labels),
            budget=queries,
            seed=1,
        )
        began, worked = time.perf_counter(), time.process_time()
        with one_numpy_thread():
            solutions = [step.solution for step in get_method("craft")(problem)]
        seconds, worked = time.perf_counter() - began, time.process_time() - worked
        megabytes = journal.path.stat().st_size / 2**20
    accuracies = [
        100 * accuracy(solution.logits(box, test_images), test_labels)
        for solution in (solutions[0], solutions[-1])
    ]
    return {
        "classes": n_classes,
        "images": len(labels),
        "queries": problem.meter.queries,
        "seconds_a_query": seconds / problem.meter.queries,
        "processor_seconds_a_query": worked / problem.meter.queries,
        "megabytes": peak.megabytes,
        "journal_megabytes": megabytes,
        "zero_shot": accuracies[0],
        "accuracy": accuracies[1],
    }


def measure_growth(sizes: Mapping[str, Sequence[tuple[int, int, int]]] = _GROWTH) -> Rows:
    """Measure :func:`measure_large` for several numbers of classes, images and queries.

    Args:
        sizes: classes, shots and queries of the runs, by what grows.
    """
    for what, runs in sizes.items():
        for run in runs:
            row = measure_large(*run)
            yield {
                "what": what,
                "size": row[what],
                "processor_seconds": row["processor_seconds_a_query"] * row["queries"],
                "megabytes": row["megabytes"],
                "journal_megabytes": row["journal_megabytes"],
            }
