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
    datasets = opened or OpenedDatasets()
    extent = cache(partial(extent_of, opened=datasets))
    rehearsed: dict[tuple[object, ...], Rehearsed] = {}

    def rehearsal_of(run: RunSpec, n_classes: int, queries: int) -> Rehearsed:
        settings = tuple(settings_of(run.method, run.config).items())
        size = rehearsed_size(n_classes, run.shots)
        anchors = find_method(run.method).anchors(run.config, run.budget, n_classes)
        names = list[str]()
        if describes_classes(run.method, run.config):
            names = _classnames(extent(run.dataset), datasets)
        key = (run.method, run.optimizer, settings, run.budget, size, queries, anchors, *names)
        if key not in rehearsed:
            rehearsed[key] = rehearse(
                run.method,
                run.optimizer,
                run.config,
                budget=run.budget,
                n_classes=n_classes,
                shots=run.shots,
                seed=run.seed,
                name=short_name(run.dataset.name),
                on_service=service is not None,
                vlm=vlm,
                classnames=names,
            )
        return rehearsed[key]

    runs = list(runs)
    names = name_datasets(runs)
    speed = None if vlm is None else _Speed(vlm)
    bills = None if service is None else _Bills(service, datasets)
    encoded: set[Extent] = set()
    rows: dict[tuple[object, ...], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for run in runs:
        mine = extent(run.dataset)
        method = find_method(run.method)
        anchors = method.anchors(run.config, run.budget, mine.n_classes)
        about = (names[run].name, run.shots, run.method, run.optimizer, run.budget, mine.here)
        row = rows[(*about, 1 + anchors / mine.n_classes)]
        row["runs"] += 1
        if run in finished:
            row["done"] += 1
            continue
        n_train = run.shots * mine.n_classes
        n_measured = min(run.shots, 4) * mine.n_classes
        n_measured = mine.n_test if run.measured_on == "test" else n_measured
        queries = most_queries(run.method, run.config, run.budget, mine.n_classes)
        others = [extent(run.dataset.other(name)) for name in run.transfer]
        trial = rehearsal_of(run, mine.n_classes, queries)
        measuring = Measuring(run.budget)
        points = sum(measuring.due(made) for made in trial.steps[1:])
        points += not measuring.measured(trial.steps[-1])
        row["queries"] += queries
        a_query = most_images(run.method, run.config, n_train)
        row["predictions"] += math.ceil(queries * a_query + trial.refiner * n_train)
        row["evaluation"] += math.ceil((points + anchors / mine.n_classes) * n_measured)
        for other in others:
            row["evaluation"] += math.ceil((1 + anchors / other.n_classes) * other.n_test)
        names_of = _classnames(mine, datasets)
        paid = most_llm_usage(run.method, run.config, run.budget, names_of)
        for name in UNITS:
            row[name] += getattr(paid, name)
        if bills is not None and not method.white_box:
            usage = bills.of(run, trial, mine, n_train)
            usage += bills.of_measuring(run, trial, mine, n_measured, points)
            for other in others:
                usage += bills.of_measuring(run, trial, other, other.n_test)
            for name in UNITS:
                row[name] += getattr(usage, name)
        if speed is not None and not method.white_box:
            row["seconds"] += (queries + points) * speed.context(mine.n_classes)
            n_encoded = (1 + run.config.views) * n_train + trial.encoded * a_query
            if trial.alters:
                n_encoded += points * n_measured
            for other in others:
                row["seconds"] += speed.context(other.n_classes)
            for each in {mine, *others} - encoded:  # test images are encoded only once
                encoded.add(each)
                n_encoded += each.n_test if each in others else n_measured
            row["seconds"] += n_encoded * speed.image
    columns = ["dataset", "shots", "method", "optimizer", "budget", "here", "per_image"]
    counts = ["runs", "done", "queries", "predictions", "evaluation", *UNITS, "seconds"]
    table = pd.DataFrame(
        [[*key, *(row.get(name, 0.0) for name in counts)] for key, row in rows.items()],
        columns=[*columns, *counts],
    )
    whole = counts[:-1]
    table[whole] = table[whole].astype(np.int64)
    if speed is None:
        table["seconds"] = np.nan
    return table


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
