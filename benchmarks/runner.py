"""Executes grids: runs each method on its task and measures it on held-out images meanwhile."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from craft_zoo.adapter import Adapter
from craft_zoo.benchmarks.grid import RunSpec, short_name
from craft_zoo.benchmarks.queue import POLL_SECONDS, Listener, Outcome, RunQueue
from craft_zoo.benchmarks.store import Point, RunStore
from craft_zoo.blackbox import VLM, Busy, ImageSet, Journal, Price, Progress, ReplayVLM, Usage
from craft_zoo.blackbox.usage import UNITS
from craft_zoo.counts import counted
from craft_zoo.craft import Step
from craft_zoo.data import LabelledImages, OpenedDatasets, Task
from craft_zoo.errors import CraftZooError
from craft_zoo.machine import one_numpy_thread
from craft_zoo.methods import Problem, check_background, check_words, get_method, recorded
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers import OptimizerError
from craft_zoo.predictor import Predictor
from craft_zoo.solution import Solution
from craft_zoo.transfer import transfer

# Measured points per curve, evenly spread over the budget. Early in the run, each doubling of the
# queries adds a point.
_POINTS = 200


class Bench:
    """Executes grids on one model, loading data sets and encoding measured images once.

    Args:
        vlm: the model that every run adapts.
        store: where finished and interrupted runs are stored.
        in_flight: see :class:`~craft_zoo.blackbox.ReplayVLM`.
        datasets: data sets opened before.

    Raises:
        CraftZooError: finished runs of the store were made on another model of its name.
    """

    def __init__(
        self,
        vlm: VLM,
        store: RunStore,
        *,
        in_flight: int | None = None,
        datasets: OpenedDatasets | None = None,
    ) -> None:
        store.check_model(vlm)
        self.vlm, self.store, self.in_flight = vlm, store, in_flight
        self._datasets = datasets or OpenedDatasets()
        self._measured: dict[tuple[Any, ...], ImageSet] = {}

    def run(
        self, runs: Sequence[RunSpec], listener: Listener | None = None
    ) -> dict[RunSpec, list[Point]]:
        """Execute the runs that the store lacks.

        Waits for runs that other processes are executing. A failing run does not stop the others.

        Returns:
            The curve of every run, in the order of ``runs``.

        Raises:
            CraftZooError: a check failed and nothing was run, or runs failed and the others are
                finished and stored.
        """
        check_tasks(runs, self._datasets)
        check_backgrounds(runs, self.vlm)
        queue = RunQueue(self.store, runs, listener)
        busy = 0  # consecutive runs that other processes are executing
        while queue.waiting:
            run = queue.waiting.popleft()
            outcome = self.attempt(run, listener)
            queue.settle(run, outcome)
            busy = busy + 1 if outcome.busy else 0
            if busy and busy >= len(queue.waiting):
                time.sleep(POLL_SECONDS)
                busy = 0
        return queue.curves()

    def attempt(self, run: RunSpec, listener: Listener | None = None) -> Outcome:
        """Finish one run, resuming an interrupted one, unless the store has it."""
        before = self.vlm.refused
        try:
            with self.store.claim(run) as journal:
                if self.store.load(run) is None:  # another process may just have finished it
                    with one_numpy_thread():
                        self._execute(run, journal, listener)
                journal.remove()
        except Busy:
            return Outcome(busy=True)
        except (CraftZooError, OptimizerError) as error:
            return Outcome(reason=str(error))
        except ConnectionError:  # from the listener: the main process has gone
            raise
        except Exception as error:  # a bug here, or in a package's method, optimizer or model
            traceback.print_exc()
            return Outcome(reason=f"{type(error).__name__}: {error}")
        finally:
            if listener and (refused := self.vlm.refused - before):
                listener.refused(run, refused)
        return Outcome(done=True)

    def _images(
        self, images: LabelledImages, key: tuple[Any, ...], progress: Progress | None
    ) -> ImageSet:
        """Images to measure on, passed to the model once per ``key``."""
        if key not in self._measured:
            self._measured[key] = self.vlm.images(images.images, progress)
        return self._measured[key]

    def _transfers(
        self, run: RunSpec, problem: Problem, solution: Solution, progress: Progress | None
    ) -> dict[str, float]:
        """Accuracy of the solution on each data set in ``run.transfer``, by name."""
        accuracies = {}
        for name in run.transfer:
            spec = run.dataset.other(name)
            other = self._datasets.open(spec)
            images = self._images(other.test, (spec,), progress)
            logits = transfer(
                solution, problem.vlm, problem.box, images, other.classnames, problem.meter
            )
            accuracies[name] = accuracy(logits, other.test.labels)
        return accuracies

    def _execute(self, run: RunSpec, journal: Journal, listener: Listener | None) -> None:
        if run.precision != self.vlm.precision:
            raise CraftZooError(
                f"the run is of a model in {run.precision}, and this one computes in "
                f"{self.vlm.precision}: open it with precision={run.precision!r}, or replace the "
                f"run's precision"
            )
        task = task_of(run, self._datasets)
        progress = functools.partial(listener.reading, run) if listener else None
        measured = task.test
        key: tuple[Any, ...] = (run.dataset,)
        if run.measured_on == "val":
            assert task.val is not None, "checked before"
            measured, key = task.val, (*key, run.shots, run.seed)
        images = self._images(measured, key, progress)
        problem = Problem.open(
            recorded(self.vlm, run.method, journal, self.in_flight),
            task.classnames,
            task.train,
            budget=run.budget,
            seed=run.seed,
            optimizer=run.optimizer,
            config=run.config,
            progress=progress,
            name=short_name(run.dataset.name),
            template=task.template,
            method=run.method,
        )
        if listener:
            listener.started(run)
        curve = _Curve(problem, images, measured.labels, journal, self.vlm.cost_limit.price)
        points: list[Point] = []
        measuring = Measuring(run.budget)
        step = None
        for step in get_method(run.method)(problem):
            if measuring.due(problem.meter.queries):
                points.append(curve.point(step))
                if listener:
                    listener.measured(run, points[-1])
        assert step is not None, "a method yields at least one step"
        if not measuring.measured(problem.meter.queries):
            points.append(curve.point(step))
        _check_counted(run.method, problem)
        if step.ended and listener:
            listener.ended(run, points[-1], step.ended)
        deployable = step.solution.deployable
        adapter = Adapter.of(step.solution, self.vlm, problem.box) if deployable else None
        transfers = self._transfers(run, problem, step.solution, progress)
        described = self.vlm.identity()
        self.store.save(
            run, points, adapter, lost=journal.lost, transfer=transfers, described=described
        )


def _check_counted(method: str, problem: Problem) -> None:
    """Check that the meter has counted all that the model was asked.

    Raises:
        CraftZooError: a method has asked the model itself.
    """
    asked = problem.vlm.predictions if isinstance(problem.vlm, ReplayVLM) else 0
    if asked > problem.meter.billed:
        raise CraftZooError(
            f"the method {method} made {counted(asked - problem.meter.billed, 'prediction')} that "
            f"were not counted: ask through problem.meter.wrap(problem.box, 'search')"
        )


def task_of(run: RunSpec, datasets: OpenedDatasets) -> Task:
    """The task that a run adapts to.

    Raises:
        CraftZooError: the data set cannot be opened, or has too few images.
    """
    return run.dataset.draw(datasets.open(run.dataset), run.shots, run.seed)


def check_tasks(runs: Iterable[RunSpec], datasets: OpenedDatasets) -> None:
    """Draw all tasks, so that a missing image is reported before the first billed query.

    Raises:
        CraftZooError: a task cannot be drawn, has no images to measure on, or leaves too few words
            for anchors.
    """
    for run in runs:
        task = task_of(run, datasets)
        if run.measured_on == "val" and task.val is None:
            raise CraftZooError(
                f"{task.name} has no validation images and no training images are left for "
                f"them: lower shots (--shots), or measure on the test images"
            )
        check_words(run.method, run.config, run.budget, task.classnames)
        for name in run.transfer:
            datasets.open(run.dataset.other(name))


def check_backgrounds(runs: Iterable[RunSpec], vlm: VLM) -> None:
    """Check that the backgrounds of runs are of their model, before the first billed query.

    Raises:
        CraftZooError: one is of another model, or its file cannot be read.
    """
    for run in runs:
        check_background(run.method, run.config, vlm)


def check_opened(open_vlm: Callable[[], VLM], store: RunStore, runs: Sequence[RunSpec]) -> None:
    """Check the model against finished runs and backgrounds; it is opened only if there are any.

    Raises:
        CraftZooError: it is another model than theirs.
    """
    if store.has_records() or any(run.config.background for run in runs):
        vlm = open_vlm()
        store.check_model(vlm)
        check_backgrounds(runs, vlm)


class Measuring:
    """Decides which steps of a run of ``budget`` queries are measured."""

    def __init__(self, budget: int) -> None:
        self._budget, self._spacing = budget, budget / _POINTS
        self._next = 0.0
        self._last: int | None = None  # queries at the last measurement

    def due(self, queries: int) -> bool:
        """Whether to measure the step after ``queries`` queries; if so, record it as measured."""
        doubled = self._last is not None and queries >= max(1, 2 * self._last)
        if queries < self._next and not doubled and queries < self._budget:
            return False
        self._next = self._spacing * (queries // self._spacing + 1)
        self._last = queries
        return True

    def measured(self, queries: int) -> bool:
        """Whether the last measurement was after ``queries`` queries."""
        return self._last == queries


class _Curve:
    """Measures steps of a run.

    Args:
        problem: the run's problem.
        images: N images to measure on.
        labels: (N,) int64.
        journal: the run's journal.
        price: of the model and of a language model; None: not known.
    """

    def __init__(
        self,
        problem: Problem,
        images: ImageSet,
        labels: np.ndarray,
        journal: Journal,
        price: Price | None,
    ) -> None:
        self._problem, self._labels, self._price = problem, labels, price
        self._predictor = Predictor(problem.vlm, problem.box, images, problem.meter)
        self._clock = _Clock(journal)
        self._before, self._evaluation = problem.vlm.billed, Usage()

    def point(self, step: Step) -> Point:
        """The point of the curve that a step is."""
        before = self._billed()
        tuning = before - self._evaluation
        test_accuracy = accuracy(self._predictor.logits(step.solution), self._labels)
        self._evaluation += self._billed() - before
        meter = self._problem.meter
        return Point(
            queries=meter.queries,
            accuracy=test_accuracy,
            train_accuracy=step.train_accuracy,
            loss=step.loss,
            search_predictions=meter.predictions["search"],
            refiner_predictions=meter.predictions["refiner"],
            evaluation_predictions=meter.predictions["evaluation"],
            seconds=self._clock.seconds(),
            image_predictions=step.solution.predictions,
            billed_predictions=tuning.predictions,
            **{unit: getattr(tuning, unit) for unit in UNITS},
            llm_cost=(self._price or Price()).cost(tuning.llm),
            cost=self._cost(tuning),
            evaluation_cost=self._cost(self._evaluation),
        )

    def _billed(self) -> Usage:
        """All that the run was billed so far."""
        billed = self._problem.vlm.billed - self._before
        return replace(billed, predictions=self._problem.meter.billed)

    def _cost(self, usage: Usage) -> float:
        return np.nan if self._price is None else self._price.cost(usage)


class _Clock:
    """Seconds that a run has taken, including those before an interruption."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._began = journal, time.perf_counter()

    def seconds(self) -> float:
        """Seconds since the run began; a resumed run replays the readings in its journal."""
        now = time.perf_counter()
        seconds = self._journal.note({"seconds": now - self._began})["seconds"]
        self._began = now - seconds
        return seconds
