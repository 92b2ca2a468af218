"""Estimate of a grid's queries, predictions and time, made without running it."""

from __future__ import annotations

import math
import timeit
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pandas as pd

from craft_zoo.benchmarks.grid import RunSpec, short_name
from craft_zoo.benchmarks.names import name_datasets
from craft_zoo.benchmarks.runner import Measuring
from craft_zoo.blackbox import VLM, Asked, Usage
from craft_zoo.blackbox.base import several
from craft_zoo.blackbox.usage import UNITS
from craft_zoo.data import DatasetSpec, ImageSource, OpenedDatasets, published_datasets, split_part
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import (
    find_method,
    most_images,
    most_llm_usage,
    most_queries,
    settings_of,
    starting_template,
)
from craft_zoo.rehearsal import (
    Rehearsed,
    describes_classes,
    expected_usage,
    rehearse,
    rehearsed_size,
)

_TRIAL = 8  # images and contexts for measuring speed
_NAMES = 20
_SIDE = 224  # pixels, size of these images


@dataclass(frozen=True)
class Extent:
    """Size of a data set, which determines costs.

    Attributes:
        n_classes: number of classes.
        n_test: number of test images.
        dataset: the data set.
        here: whether the data set was opened on this machine; False: the sizes are published ones.
    """

    n_classes: int
    n_test: int
    dataset: DatasetSpec
    here: bool


def extent_of(spec: DatasetSpec, opened: OpenedDatasets) -> Extent:
    """The size of a data set.

    Raises:
        CraftZooError: the data set cannot be opened, and its sizes are not published.
    """
    source, part = split_part(spec.name)
    published = published_datasets().get(source)
    try:
        dataset = opened.open(spec)
    except CraftZooError:
        if published is None:
            raise
        n_classes, n_test = published.n_classes, published.sizes.test
        if part is not None:
            base = math.ceil(n_classes / 2)
            n_classes = base if part == "base" else n_classes - base
            n_test = round(n_test * n_classes / published.n_classes)
        return Extent(n_classes, n_test, spec, here=False)
    return Extent(len(dataset.classnames), len(dataset.test), spec, here=True)


def estimate_costs(
    runs: Iterable[RunSpec],
    *,
    vlm: VLM | None = None,
    service: VLM | None = None,
    finished: Collection[RunSpec] = (),
    opened: OpenedDatasets | None = None,
) -> pd.DataFrame:
    """Upper bounds of the costs of a grid's runs.

    Predictions for evaluation are those of runs that spend their budgets (within 2 % if the size of
    generations stays constant); runs that end earlier need less.

    Args:
        runs: the runs of the grid.
        vlm: the model, whose speed on this machine is measured; None: seconds are NaN.
        service: the model, if it is a service with known units of billing; it is not queried.
        finished: runs that a store already has, which are not repeated.
        opened: data sets opened before.

    Returns:
        One row per task, method, optimizer and cost of a deployed image, with columns dataset,
        shots, method, optimizer, budget, here (whether the data set was opened), per_image
        (predictions that a deployed image costs), runs, done, and queries, predictions, evaluation
        and seconds, which are totals of the runs that are not done.

    Raises:
        CraftZooError: a data set cannot be opened, and its sizes are not published.
    """
    runs, datasets = list(runs), opened or OpenedDatasets()
    names, costs = name_datasets(runs), _RunCosts(vlm, service, datasets)
    rows: dict[tuple[object, ...], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for run in runs:
        mine = costs.extent(run.dataset)
        about = (names[run].name, run.shots, run.method, run.optimizer, run.budget, mine.here)
        row = rows[(*about, 1 + _anchors(run, mine) / mine.n_classes)]
        row["runs"] += 1
        if run in finished:
            row["done"] += 1
            continue
        for name, amount in costs.of(run).items():
            row[name] += amount
    columns = ["dataset", "shots", "method", "optimizer", "budget", "here", "per_image"]
    counts = ["runs", "done", "queries", "predictions", "evaluation", *UNITS, "seconds"]
    table = pd.DataFrame(
        [[*key, *(row.get(name, 0.0) for name in counts)] for key, row in rows.items()],
        columns=[*columns, *counts],
    )
    whole = counts[:-1]
    table[whole] = table[whole].astype(np.int64)
    if vlm is None:
        table["seconds"] = np.nan
    return table


class _RunCosts:
    """Costs of one run after another; test images are encoded only once.

    Args:
        vlm: see :func:`estimate_costs`, as are the others.
    """

    def __init__(self, vlm: VLM | None, service: VLM | None, opened: OpenedDatasets) -> None:
        self._vlm, self._opened = vlm, opened
        self.extent = cache(partial(extent_of, opened=opened))
        self._speed = None if vlm is None else _Speed(vlm)
        self._bills = None if service is None else _Bills(service, opened)
        self._rehearsed: dict[tuple[object, ...], Rehearsed] = {}
        self._encoded: set[Extent] = set()

    def of(self, run: RunSpec) -> dict[str, float]:
        """What a run costs, by the columns of :func:`estimate_costs`."""
        mine = self.extent(run.dataset)
        others = [self.extent(run.dataset.other(name)) for name in run.transfer]
        n_train = run.shots * mine.n_classes
        n_measured = min(run.shots, 4) * mine.n_classes
        n_measured = mine.n_test if run.measured_on == "test" else n_measured
        queries = most_queries(run.method, run.config, run.budget, mine.n_classes)
        trial = self._rehearsal(run, mine, queries)
        points = _measurements(run, trial)
        views = find_method(run.method).views(run.config, run.budget, mine.n_classes)
        a_query = most_images(run.method, run.config, n_train)
        anchors = _anchors(run, mine)
        evaluation = math.ceil((points + anchors / mine.n_classes) * n_measured)
        for other in others:
            evaluation += math.ceil((1 + anchors / other.n_classes) * other.n_test)
        names = _classnames(mine, self._opened)
        usage = most_llm_usage(run.method, run.config, run.budget, names)
        if self._bills is not None and not find_method(run.method).white_box:
            usage += self._bills.of(run, trial, mine, n_train)
            usage += self._bills.of_measuring(run, trial, mine, n_measured, points)
            for other in others:
                usage += self._bills.of_measuring(run, trial, other, other.n_test)
        seconds = 0.0
        if self._speed is not None:
            n_encoded = (1 + run.config.views) * n_train + trial.encoded * a_query
            if trial.alters:
                n_encoded += points * n_measured
            for each in {mine, *others} - self._encoded:
                self._encoded.add(each)
                n_encoded += each.n_test if each in others else n_measured
            contexts = [self._speed.context(other.n_classes) for other in others]
            seconds = (queries + points) * self._speed.context(mine.n_classes) + sum(contexts)
            seconds += n_encoded * self._speed.image
        return {
            "queries": queries,
            "predictions": queries * a_query + views * n_train,
            "evaluation": evaluation,
            **{name: getattr(usage, name) for name in UNITS},
            "seconds": seconds,
        }

    def _rehearsal(self, run: RunSpec, mine: Extent, queries: int) -> Rehearsed:
        """A rehearsal of the run, the same for all runs that make the same queries."""
        settings = tuple(settings_of(run.method, run.config).items())
        size = rehearsed_size(mine.n_classes, run.shots)
        names = list[str]()
        if describes_classes(run.method, run.config):
            names = _classnames(mine, self._opened)
        about = run.method, run.optimizer, settings, run.budget, size, queries
        key = (*about, _anchors(run, mine), *names)
        if key not in self._rehearsed:
            self._rehearsed[key] = rehearse(
                run.method,
                run.optimizer,
                run.config,
                budget=run.budget,
                n_classes=mine.n_classes,
                shots=run.shots,
                seed=run.seed,
                name=short_name(run.dataset.name),
                on_service=self._bills is not None,
                vlm=self._vlm,
                classnames=names,
            )
        return self._rehearsed[key]


def _anchors(run: RunSpec, extent: Extent) -> int:
    """Number of anchors that the run deploys."""
    return find_method(run.method).anchors(run.config, run.budget, extent.n_classes)


def _measurements(run: RunSpec, trial: Rehearsed) -> int:
    """How often the accuracy is measured in a run that makes the steps of its rehearsal."""
    measuring = Measuring(run.budget)
    points = sum(measuring.due(made) for made in trial.steps[1:])
    return points + (not measuring.measured(trial.steps[-1]))


def _classnames(extent: Extent, opened: OpenedDatasets) -> list[str]:
    """The class names of a data set; invented ones if it is not here."""
    if extent.here:
        return list(opened.open(extent.dataset).classnames)
    return [f"thing {place}" for place in range(extent.n_classes)]


class _Bills:
    """Usage that a service would bill for a grid's runs; it is not queried.

    Runs that differ only in their seeds are billed equally.
    """

    def __init__(self, service: VLM, opened: OpenedDatasets) -> None:
        self._service, self._opened = service, opened
        self._known: dict[tuple[object, ...], Usage] = {}

    def of(self, run: RunSpec, trial: Rehearsed, mine: Extent, n_train: int) -> Usage:
        """Usage of a run's queries on ``n_train`` images."""
        names, images, init = self._task(run, mine)
        key = (mine.dataset, init, id(trial), n_train)
        if key not in self._known:
            some = [images[place % len(images)] for place in range(n_train)]
            self._known[key] = expected_usage(self._service, trial, some, names, init)
        return self._known[key]

    def of_measuring(
        self, run: RunSpec, trial: Rehearsed, extent: Extent, n_images: int, times: int = 1
    ) -> Usage:
        """Usage of measuring ``times`` prompts for the classes on ``n_images`` images, and the
        anchors once."""
        names, images, init = self._task(run, extent)
        key = (extent.dataset, init, id(trial), n_images, times)
        if key not in self._known:
            last = [each for each in trial.asked if each.texts is None][-1:] or [Asked((init,))]
            asked = [Asked(last[0].prompts[:1], times=times)]
            asked += trial.deployed
            some = [images[place % len(images)] for place in range(n_images)]
            self._known[key] = self._service.expected_usage(asked, some, names, init)
        return self._known[key]

    def _task(self, run: RunSpec, extent: Extent) -> tuple[list[str], Sequence[ImageSource], str]:
        images: Sequence[ImageSource] = [np.zeros((_SIDE, _SIDE, 3), np.uint8)]
        template = None
        if extent.here:
            dataset = self._opened.open(extent.dataset)
            template = dataset.template
            images = dataset.train.images or dataset.test.images
        return (
            _classnames(extent, self._opened),
            images,
            starting_template(run.config, template, run.method),
        )


class _Speed:
    """Speed of the model on this machine, measured on a few images and prompts.

    It excludes the multiplication of features, which is negligible on a GPU or with a large model,
    and the time of optimizer and refiner.
    """

    def __init__(self, vlm: VLM) -> None:
        rng = np.random.default_rng(0)
        pixels = [rng.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8) for _ in range(_TRIAL)]
        images = vlm.images(pixels, keep=False)  # warm-up, as the first call is slower
        self.image = _seconds(lambda: vlm.images(pixels, keep=False)) / _TRIAL
        box = vlm.classifier([f"thing number {place}" for place in range(_NAMES)])
        prompts = several(box.initial_prompt, _TRIAL)
        list(box.logits(prompts[:2], images))
        self._text = _seconds(lambda: list(box.logits(prompts, images))) / (_TRIAL * _NAMES)

    def context(self, n_classes: int) -> float:
        """Seconds for scoring one context."""
        return n_classes * self._text


def _seconds(work: Callable[[], object]) -> float:
    """Seconds of the fastest of three calls, which other processes hold up least."""
    return min(timeit.repeat(work, number=1, repeat=3))
