"""Predicts the costs of a run besides its queries, by a short run on a fake model."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from craft_zoo.benchmarks.grid import RunSpec, short_name
from craft_zoo.benchmarks.measuring import Measuring
from craft_zoo.blackbox import DEFAULT_INIT, VLM, BlackBox, ImageSet, Progress, Prompts
from craft_zoo.blackbox.meter import Meter
from craft_zoo.blackbox.templates import as_template
from craft_zoo.data import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, get_method, is_white_box
from craft_zoo.optimizers import OptimizerError

_CLASSES, _SHOTS, _SIDE = 10, 4, 32  # maximum sizes of the task in the short run
_CONTEXT = (2, 4)
_GENERATIONS, _QUERIES = 7, 250  # length of the short run, which is then extrapolated


@dataclass(frozen=True)
class Rehearsed:
    """Costs of a run besides its queries.

    Attributes:
        points: number of points of its curve.
        anchors: number of anchor texts, on which each measured image is scored once.
        refiner: predictions per training image for the refiner.
    """

    points: int
    anchors: int
    refiner: float


def rehearsed_size(n_classes: int, shots: int) -> tuple[int, int]:
    """Classes and shots of the task that :func:`rehearse` uses instead of one of that size."""
    return min(n_classes, _CLASSES), min(shots, _SHOTS)


def rehearse(run: RunSpec, n_classes: int, queries: int) -> Rehearsed:
    """Upper bounds of a run's costs besides its queries.

    The method runs its first generations on a small task; later generations are assumed to be as
    large as the smallest of these. If the method fails on this task, the run is assumed to be
    measured as often as possible.

    Args:
        run: the run, with optimizer, settings and budget.
        n_classes: number of classes of its data set.
        queries: its maximum number of queries.
    """
    if is_white_box(run.method):
        return Rehearsed(points=1, anchors=0, refiner=0)
    n_classes, shots = rehearsed_size(n_classes, run.shots)
    labels = np.repeat(np.arange(n_classes), shots)
    problem = _problem(run, labels, n_classes)
    steps, anchors, ended = [0], 0.0, True
    try:
        for step in get_method(run.method)(problem):
            steps.append(problem.meter.queries)
            anchors = max(anchors, (step.solution.predictions - 1) * n_classes)
            ended = step.ended is None
            if problem.meter.queries > _QUERIES or len(set(steps)) > _GENERATIONS:
                ended = problem.meter.remaining == 0
                break
    except (CraftZooError, OptimizerError):
        steps, ended = [0, 1], False
    asked = steps[-1]
    if not ended:
        seen = sorted(set(steps))
        # The first generation may be larger, and the refiner's first query a generation of one.
        gap = min(after - before for before, after in pairwise(seen[-4:]))
        steps += [*range(seen[-1] + gap, queries, gap), queries]
    measuring = Measuring(run.budget)
    points = sum(measuring.due(made) for made in steps[1:])
    return Rehearsed(
        points=points + (not measuring.measured(steps[-1])),
        anchors=round(anchors),
        refiner=problem.meter.predictions["refiner"] / len(labels) * queries / max(1, asked),
    )


def _problem(run: RunSpec, labels: np.ndarray, n_classes: int) -> Problem:
    vlm = _StandInVLM()
    images = vlm.images([np.full((_SIDE, _SIDE, 3), label, np.uint8) for label in labels])
    return Problem(
        vlm=vlm,
        box=vlm.classifier([f"thing {place}" for place in range(n_classes)]),
        images=images,
        labels=labels,
        meter=Meter(run.budget, n_classes),
        budget=run.budget,
        seed=run.seed,
        optimizer=run.optimizer,
        config=run.config,
        views=[images] * run.config.views,
        name=short_name(run.dataset.name),
    )


class _Images(ImageSet):
    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self.sources = sources

    def __len__(self) -> int:
        return len(self.sources)


class _StandIn(BlackBox):
    """Fake black box: logits are a random linear function of contexts, or random for templates.

    A prompt always has the same logits, as some optimizers test whether losses are noisy.
    """

    accepts = frozenset({"contexts", "texts"})

    def __init__(self, classnames: Sequence[str], init: str) -> None:
        self.classnames, self.template = tuple(classnames), as_template(init)
        self.initial_context = np.ones(_CONTEXT, np.float32)

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        shape = len(images), len(self.classnames)
        rng = np.random.default_rng(0)
        start = rng.standard_normal(shape)
        weights = rng.standard_normal((*shape, *_CONTEXT))
        for prompt in prompts:
            if isinstance(prompt, np.ndarray):
                own = np.broadcast_to(prompt, (shape[1], *_CONTEXT))
                logits = start + np.einsum("ncij,cij->nc", weights, own)
            else:
                seed = zlib.crc32(repr(prompt).encode())
                logits = np.random.default_rng(seed).standard_normal(shape)
            yield logits.astype(np.float32)


class _StandInVLM(VLM):
    name, image_size = "stand-in", _SIDE

    def images(
        self,
        images: Sequence[ImageSource],
        progress: Progress | None = None,
        *,
        keep: bool = True,
    ) -> ImageSet:
        return _Images(images)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        return _StandIn(classnames, init)
