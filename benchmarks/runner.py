"""Run a grid: each run on its task, measured on the test images as it goes."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from craft_zoo.adapter import Adapter, Solution
from craft_zoo.anchors import Anchors
from craft_zoo.benchmarks.grid import RunSpec, short_name
from craft_zoo.benchmarks.store import Point, RunStore
from craft_zoo.blackbox import VLM, Busy, ImageSet, Journal, Progress
from craft_zoo.craft import Step
from craft_zoo.data import Dataset, Task, few_shot, load_dataset
from craft_zoo.errors import CraftZooError
from craft_zoo.machine import one_numpy_thread
from craft_zoo.methods import Problem, get_method, recorded
from craft_zoo.metrics import accuracy

# A curve has about so many measured points, evenly spread over the budget, and in its beginning
# one each time that the queries have doubled.
_POINTS = 200
_LOOK_AGAIN = 0.5  # seconds, at what another process does


class Listener(Protocol):
    """Who wants to know how a bench goes."""

    def reading(self, run: RunSpec, done: int, total: int) -> None:
        """The model takes in images for a run."""

    def started(self, run: RunSpec) -> None:
        """A run begins."""

    def measured(self, run: RunSpec, point: Point) -> None:
        """A point was measured."""

    def ended(self, run: RunSpec, point: Point, reason: str) -> None:
        """A run is over before its budget is spent."""

    def finished(self, run: RunSpec, points: Sequence[Point], *, resumed: bool) -> None:
        """A run ended, or was found finished in the store."""

    def failed(self, run: RunSpec, reason: str) -> None:
        """A run came to no end; the others go on."""


class _TestLogits:
    """A solution's logits of the test images; the same anchors are asked for once."""

    def __init__(self, problem: Problem, images: ImageSet) -> None:
        self._problem, self._images = problem, images
        self._box = problem.meter.wrap(problem.box, "evaluation")
        self._anchors: Anchors | None = None
        self._anchor_logits: np.ndarray | None = None

    def __call__(self, solution: Solution) -> np.ndarray:
        anchors = solution.anchors
        if anchors is not None and anchors is not self._anchors:
            box = self._problem.vlm.classifier(anchors.texts)
            metered = self._problem.meter.wrap(box, "evaluation")
            self._anchors, self._anchor_logits = anchors, anchors.logits(metered, self._images)
        return solution.logits(self._box, self._images, self._anchor_logits if anchors else None)


class Bench:
    """Runs grids on one model; data sets and test features are opened once.

    Args:
        vlm: the model that every run adapts.
        store: where runs are kept and looked up.
        in_flight: see :class:`~craft_zoo.blackbox.RecordedVLM`.
    """

    def __init__(self, vlm: VLM, store: RunStore, *, in_flight: int | None = None) -> None:
        self.vlm, self.store, self.in_flight = vlm, store, in_flight
        self._datasets: dict[tuple[str, str | None], Dataset] = {}
        self._test_images: dict[tuple[str, str | None], ImageSet] = {}

    def run(
        self, runs: Sequence[RunSpec], listener: Listener | None = None
    ) -> dict[RunSpec, list[Point]]:
        """Run what the store does not have yet.

        A run that another process is at is waited for; one that fails leaves the others be.

        Returns:
            The curve of every run, in the order of ``runs``.

        Raises:
            CraftZooError: bad input, see the message; all runs that can be are finished and kept.
        """
        self.check(runs)
        curves: dict[RunSpec, list[Point]] = {}
        failed: dict[RunSpec, CraftZooError] = {}
        waiting = list(runs)
        while waiting:
            elsewhere = []
            for run in waiting:
                try:
                    curves[run] = self.run_one(run, listener)
                except Busy:
                    elsewhere.append(run)
                except CraftZooError as error:
                    failed[run] = error
                    if listener:
                        listener.failed(run, str(error))
            if len(elsewhere) == len(waiting):
                time.sleep(_LOOK_AGAIN)
            waiting = elsewhere
        if failed:
            raise failure(failed, len(runs))
        return {run: curves[run] for run in runs}

    def run_one(self, run: RunSpec, listener: Listener | None = None) -> list[Point]:
        """The curve of one run: from the store, or run now, from where it was left.

        Raises:
            Busy: another process is at it.
            CraftZooError: bad input, see the message.
        """
        points = self.store.load(run)
        resumed = points is not None
        if points is not None:
            self.store.sweep(run)
        else:
            with self.store.claim(run) as journal:
                points = self.store.load(run)  # the one who had it may just have finished it
                if points is None:
                    with one_numpy_thread():
                        points = self._execute(run, journal, listener)
                journal.remove()
        if listener:
            listener.finished(run, points, resumed=resumed)
        return points

    def check(self, runs: Sequence[RunSpec]) -> None:
        """Draw every task, so that a missing image is noticed before the first query is paid."""
        for run in runs:
            self._task(run)

    def _task(self, run: RunSpec) -> Task:
        key = (run.dataset, run.classnames)
        if key not in self._datasets:
            self._datasets[key] = load_dataset(run.dataset, classnames=run.classnames)
        return few_shot(self._datasets[key], run.shots, run.seed)

    def _test_set(self, run: RunSpec, task: Task, progress: Progress | None) -> ImageSet:
        key = (run.dataset, run.classnames)
        if key not in self._test_images:
            self._test_images[key] = self.vlm.images(task.test.images, progress)
        return self._test_images[key]

    def _execute(self, run: RunSpec, journal: Journal, listener: Listener | None) -> list[Point]:
        task = self._task(run)
        progress = functools.partial(listener.reading, run) if listener else None
        test_images = self._test_set(run, task, progress)
        problem = Problem.open(
            recorded(self.vlm, run.method, journal, self.in_flight),
            task.classnames,
            task.train,
            budget=run.budget,
            seed=run.seed,
            optimizer=run.optimizer,
            config=run.config,
            progress=progress,
            name=short_name(run.dataset),
        )
        if listener:
            listener.started(run)
        logits = _TestLogits(problem, test_images)
        clock = _Clock(journal)

        def measure(step: Step) -> Point:
            test_accuracy = accuracy(logits(step.solution), task.test.labels)
            predictions = problem.meter.predictions
            return Point(
                queries=problem.meter.queries,
                accuracy=test_accuracy,
                train_accuracy=step.train_accuracy,
                loss=step.loss,
                search_predictions=predictions["search"],
                refiner_predictions=predictions["refiner"],
                evaluation_predictions=predictions["evaluation"],
                seconds=clock.seconds(),
                image_predictions=step.solution.predictions,
            )

        points: list[Point] = []
        spacing, due = run.budget / _POINTS, 0.0
        step = None
        for step in get_method(run.method)(problem):
            queries = problem.meter.queries
            doubled = bool(points) and queries >= max(1, 2 * points[-1].queries)
            if queries >= due or doubled or problem.meter.remaining == 0:
                due = spacing * (queries // spacing + 1)
                points.append(measure(step))
                if listener:
                    listener.measured(run, points[-1])
        assert step is not None, "a method yields at least one step"
        if points[-1].queries != problem.meter.queries:
            points.append(measure(step))
        if step.ended and listener:
            listener.ended(run, points[-1], step.ended)
        deployable = step.solution.deployable
        adapter = Adapter.of(step.solution, self.vlm, problem.box) if deployable else None
        self.store.save(run, points, adapter, lost=journal.lost)
        return points


class _Clock:
    """Seconds that a run has taken, those before it was interrupted included."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._began = journal, time.perf_counter()

    def seconds(self) -> float:
        """Since the beginning; what was read once is read again."""
        now = time.perf_counter()
        seconds = self._journal.note({"seconds": now - self._began})["seconds"]
        self._began = now - seconds
        return seconds


def failure(failed: Mapping[RunSpec, CraftZooError], total: int) -> CraftZooError:
    """One error for the runs of a grid that failed."""
    first, error = next(iter(failed.items()))
    if total == 1:
        return error
    return CraftZooError(
        f"{len(failed)} of {total} runs failed, the others are kept; {first.identity}: {error}"
    )
