"""Adapts a model to a task with one method, and checks the arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from craft_zoo.adapter import Adapter
from craft_zoo.adapter_file import Texts
from craft_zoo.blackbox.base import VLM, Progress
from craft_zoo.blackbox.meter import Meter
from craft_zoo.counts import checked_whole
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.data.copies import distinct, warn_of_copies
from craft_zoo.data.task import Dataset, Task
from craft_zoo.data.versions import warn_of_versions
from craft_zoo.errors import CraftZooError, check_kind
from craft_zoo.machine import one_numpy_thread
from craft_zoo.methods import (
    Problem,
    check_background,
    check_method,
    check_words,
    find_method,
    get_method,
    starting_template,
)
from craft_zoo.printable import printable
from craft_zoo.records import check
from craft_zoo.tuning_record import CURVE_POINTS, TuningRecord

Callback = Callable[[Step], None]

DEFAULT_BUDGET, BILLED_BUDGET = 8000, 500  # queries


@dataclass(frozen=True)
class Tuned:
    """Result of :func:`tune`.

    Attributes:
        adapter: the adapter.
        meter: the number of queries and predictions.
        train_accuracy: accuracy in [0, 1] of the adapter on the training images; NaN if the method
            did not query its prompt on them.
    """

    adapter: Adapter
    meter: Meter
    train_accuracy: float = float("nan")


def tune(
    vlm: VLM,
    task: Task,
    *,
    method: str = "craft",
    optimizer: str | None = None,
    budget: int | None = None,
    seed: int = 1,
    config: CraftConfig | None = None,
    callbacks: Iterable[Callback] = (),
    progress: Progress | None = None,
    compare_images: bool = True,
) -> Tuned:
    """Adapt ``vlm`` to the training images of ``task``::

        vlm = load_vlm("craft-mini")
        task = few_shot(load_dataset("digits"), shots=16, seed=1)
        tuned = tune(vlm, task, budget=2000)
        tuned.adapter.save("digits.adapter")

    Of equal training images of a class, one is used, with a warning.

    Args:
        vlm: the model.
        task: the task; its test images are not used.
        method: see :func:`craft_zoo.methods.method_names`.
        optimizer: see :func:`craft_zoo.optimizers.create`; None: the method's default.
        budget: maximum number of queries; None: 8,000, or 500 for a model that bills
            or a method that asks a language model.
        seed: seed of all random draws; the same arguments give the same adapter.
        config: settings of the method.
        callbacks: called with every :class:`~craft_zoo.craft.Step` as it is made.
        progress: called while the model encodes the images, with the number done and the total.
        compare_images: open some of the images to warn of related ones, see
            :class:`~craft_zoo.data.LabelledImages`.

    Raises:
        CraftZooError: bad input, see the message.
    """
    budget = check_tuning(vlm, task, method, optimizer, budget=budget, seed=seed, config=config)
    check_kind("callbacks", callbacks, Iterable, "[print]")
    warn_of_copies(task.train, task.name)
    task = replace(task, train=distinct(task.train))
    if compare_images:
        warn_of_versions(task)
    problem = Problem.open(
        vlm,
        task.classnames,
        task.train,
        budget=budget,
        seed=seed,
        optimizer=optimizer or find_method(method).default_optimizer,
        config=config,
        progress=progress,
        name=task.name,
        template=task.template,
        method=method,
    )
    step, curve = None, list[tuple[int, float]]()
    with one_numpy_thread():
        for step in get_method(method)(problem):
            if not np.isnan(step.train_accuracy):
                curve.append((step.queries, round(float(step.train_accuracy), 4)))
            for callback in callbacks:
                callback(step)
    assert step is not None, "a method yields at least one step"
    adapter, meter = Adapter.of(step.solution, vlm, problem.box), problem.meter
    adapter.tuned = TuningRecord(
        method,
        problem.optimizer if find_method(method).uses_optimizer else None,
        printable(task.name),
        len(task.train),
        int(seed),
        meter.queries,
        meter.billed,
        curve=_thinned(curve),
    )
    return Tuned(adapter, meter, step.deployed_accuracy)


def _thinned(curve: list[tuple[int, float]]) -> tuple[tuple[int, float], ...] | None:
    """At most :data:`CURVE_POINTS` of the points, with the first and the last; None: below two."""
    if len(curve) < 2:
        return None
    places = np.linspace(0, len(curve) - 1, min(CURVE_POINTS, len(curve))).round().astype(int)
    return tuple(curve[place] for place in places)


def check_tuning(
    vlm: VLM,
    task: Task,
    method: str,
    optimizer: str | None,
    *,
    budget: int | None,
    seed: int,
    config: CraftConfig | None,
) -> int:
    """Check the arguments of :func:`tune` before any query.

    Args:
        vlm: the model.
        task: the task.
        method: see :func:`check_settings`, also for the other arguments.
        optimizer: its spec.
        budget: in queries.
        seed: seed of all random draws.
        config: settings.

    Returns:
        The budget, or the default for None.

    Raises:
        CraftZooError: an argument is invalid, see the message.
        OptimizerError: the optimizer is invalid, see :func:`craft_zoo.methods.check_method`.
    """
    if isinstance(task, Dataset):
        raise CraftZooError(
            f"tune adapts to a few-shot task and not to all of {task.name}: draw one, "
            f"few_shot(dataset, shots=16, seed=1)"
        )
    check_kind("vlm", vlm, VLM, 'load_vlm("craft-mini")')
    check_kind("task", task, Task, "few_shot(dataset, shots=16, seed=1)")
    lacking = np.setdiff1d(np.arange(len(task.classnames)), task.train.labels)
    if len(task.train) and len(lacking):
        raise CraftZooError(
            f"class {printable(task.classnames[lacking[0]])!r} of {printable(task.name)} has no "
            f"training image: add one, or leave the class out"
        )
    if budget is None:
        budget = BILLED_BUDGET if vlm.bills or find_method(method).pays else DEFAULT_BUDGET
    check_settings(method, optimizer, budget=budget, seed=seed, config=config)
    init = starting_template(config or CraftConfig(), task.template, method)
    try:
        check(Texts, {"classnames": task.classnames, "init": init})
    except ValueError as error:
        raise CraftZooError(
            f"an adapter for {printable(task.name)} could not be saved: {error}: change it "
            f"(words for the classes: --classnames FILE)"
        ) from None
    check_background(method, config or CraftConfig(), vlm)
    check_words(method, config or CraftConfig(), int(budget), task.classnames)
    return int(budget)


def check_settings(
    method: str,
    optimizer: str | None,
    *,
    budget: int | None,
    seed: int,
    config: CraftConfig | None,
) -> None:
    """Check the settings of :func:`tune`, for which no model is needed.

    Args:
        method: its name.
        optimizer: its spec; None: the method's default.
        budget: in queries; None: the larger default is checked.
        seed: seed of all random draws.
        config: settings of the method.

    Raises:
        CraftZooError: a setting is invalid, see the message.
        OptimizerError: the optimizer is invalid, see :func:`craft_zoo.methods.check_method`.
    """
    check_kind("config", config or CraftConfig(), CraftConfig, "CraftConfig(scale=3.0)")
    check_kind("optimizer", optimizer or "", str, '"cma:popsize=20"')
    budget = DEFAULT_BUDGET if budget is None else budget
    budget, _ = checked_whole("budget", budget, 1), checked_whole("seed", seed, 0)
    check_method(method, optimizer, budget=budget, config=config or CraftConfig())
