"""Adapt a model once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox.base import VLM, Progress
from craft_zoo.blackbox.meter import Meter
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.data.task import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.machine import one_numpy_thread
from craft_zoo.methods import Problem, default_optimizer, get_method

Callback = Callable[[Step], None]


@dataclass(frozen=True)
class Tuned:
    """The adapter, and the meter that says what it cost."""

    adapter: Adapter
    meter: Meter


def tune(
    vlm: VLM,
    task: Task,
    *,
    method: str = "craft",
    optimizer: str | None = None,
    budget: int = 8000,
    seed: int = 1,
    config: CraftConfig | None = None,
    callbacks: Iterable[Callback] = (),
    progress: Progress | None = None,
) -> Tuned:
    """Adapt ``vlm`` to the training images of ``task``::

        vlm = load_vlm("craft-mini")
        task = few_shot(load_dataset("digits"), shots=16, seed=1)
        tuned = tune(vlm, task, budget=2000)
        tuned.adapter.save("digits.adapter")

    Args:
        vlm: the model.
        task: its test images are not touched.
        method: see :func:`craft_zoo.methods.method_names`.
        optimizer: see :func:`craft_zoo.optimizers.create`; None: the method's default.
        budget: queries that may be made.
        seed: seed of all that is random; the same arguments give the same adapter.
        config: settings of the method.
        callbacks: called with every :class:`~craft_zoo.craft.Step`, as it happens.
        progress: called as the model takes the images in, with how many of how many.

    Raises:
        CraftZooError: bad input, see the message.
    """
    problem = Problem.open(
        vlm,
        task.classnames,
        task.train,
        budget=budget,
        seed=seed,
        optimizer=optimizer or default_optimizer(method),
        config=config,
        progress=progress,
        name=task.name,
        template=task.template,
    )
    step = None
    with one_numpy_thread():
        for step in get_method(method)(problem):
            for callback in callbacks:
                callback(step)
    assert step is not None, "a method yields at least one step"
    if not step.solution.deployable:
        raise CraftZooError(
            f"what {method!r} finds cannot be deployed: it is a reference for bench"
        )
    return Tuned(Adapter.of(step.solution, vlm, problem.box), problem.meter)
