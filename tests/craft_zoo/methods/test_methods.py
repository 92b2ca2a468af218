"""Methods on the real model: budget, accounting, determinism, learning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from craft_zoo.blackbox import VLM, BlackBox, ImageSet, OpenCLIP
from craft_zoo.craft import CraftConfig, Step, collaborate
from craft_zoo.data import LabelledImages, Task
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, get_method, method_names, uses_optimizer
from craft_zoo.optimizers import Optimizer
from craft_zoo.prompts import Subspace

SMALL = CraftConfig(intrinsic_dim=32, epoch_queries=10)


class Counting(BlackBox):
    """Counts the contexts and predictions that really reach the model."""

    def __init__(self, box: BlackBox) -> None:
        self.box, self.contexts, self.predictions = box, 0, 0
        self.accepts, self.classnames = box.accepts, box.classnames
        self.initial_context = box.initial_context

    def logits(self, contexts: np.ndarray, images: ImageSet) -> Iterator[np.ndarray]:
        for logits in self.box.logits(contexts, images):
            self.contexts += 1
            self.predictions += len(logits)
            yield logits


def open_problem(
    vlm: VLM,
    shots: LabelledImages,
    classnames: tuple[str, ...],
    *,
    budget: int = 60,
    seed: int = 1,
    optimizer: str = "cma:popsize=10",
    config: CraftConfig = SMALL,
) -> Problem:
    return Problem.open(
        vlm, classnames, shots, budget=budget, seed=seed, optimizer=optimizer, config=config
    )


def trace(steps: Iterator[Step]) -> list[tuple]:
    return [
        (step.queries, step.loss, step.train_accuracy, step.solution.context.tobytes())
        for step in steps
    ]


@pytest.mark.parametrize("optimizer", ["cma:popsize=10", "spsa", "nevergrad:OnePlusOne"])
@pytest.mark.parametrize("budget", [60, 67])
@pytest.mark.parametrize("method", ["prompt", "craft"])
def test_queries_are_contexts_scored_and_the_budget_is_spent(
    vlm: OpenCLIP, small_task: Task, method: str, optimizer: str, budget: int
) -> None:
    problem = open_problem(
        vlm, small_task.train, small_task.classnames, budget=budget, optimizer=optimizer
    )
    problem.box = counting = Counting(problem.box)
    steps = list(get_method(method)(problem))
    assert problem.meter.queries == counting.contexts == budget
    assert sum(problem.meter.predictions.values()) == counting.predictions == budget * 20
    queries = [step.queries for step in steps]
    assert queries == sorted(set(queries))
    assert queries[-1] == budget


def test_the_same_seed_gives_the_same_steps_even_when_interleaved(
    vlm: OpenCLIP, small_task: Task
) -> None:
    def start(seed: int) -> Iterator[Step]:
        problem = open_problem(vlm, small_task.train, small_task.classnames, seed=seed)
        return get_method("craft")(problem)

    alone = trace(start(1))
    both = [start(1), start(2)]
    interleaved = [[trace(iter([step]))[0] for step in pair] for pair in zip(*both, strict=True)]
    assert [pair[0] for pair in interleaved] == alone
    assert [pair[1] for pair in interleaved] != alone


def test_craft_learns_the_training_images(vlm: OpenCLIP, small_task: Task) -> None:
    problem = open_problem(
        vlm, small_task.train, small_task.classnames, budget=800, optimizer="cma:popsize=20"
    )
    steps = list(get_method("craft")(problem))
    assert steps[-1].train_accuracy > steps[1].train_accuracy + 0.2
    assert min(step.loss for step in steps[-5:]) < steps[1].loss


def test_zero_shot_asks_nothing(vlm: OpenCLIP, small_task: Task) -> None:
    problem = open_problem(vlm, small_task.train, small_task.classnames)
    (step,) = get_method("zero-shot")(problem)
    assert problem.meter.queries == 0
    assert sum(problem.meter.predictions.values()) == 0
    assert np.array_equal(step.solution.context, problem.box.initial_context)
    assert step.solution.refiner is None


def test_refine_asks_once(vlm: OpenCLIP, small_task: Task) -> None:
    problem = open_problem(vlm, small_task.train, small_task.classnames, budget=2000)
    (step,) = get_method("refine")(problem)
    assert problem.meter.queries == step.queries == 1
    assert np.array_equal(step.solution.context, problem.box.initial_context)
    raw = next(problem.box.logits(problem.box.initial_context[None], problem.images))
    assert step.train_accuracy > (raw.argmax(1) == problem.labels).mean() + 0.2


@pytest.mark.parametrize("method", ["refine", "craft"])
def test_views_cost_predictions_of_their_own(vlm: OpenCLIP, small_task: Task, method: str) -> None:
    config = replace(SMALL, views=2)
    problem = open_problem(vlm, small_task.train, small_task.classnames, config=config)
    assert len(problem.views) == 2
    steps = list(get_method(method)(problem))
    epochs = 60 // SMALL.epoch_queries
    assert problem.meter.predictions["refiner"] == epochs * 20
    assert problem.meter.queries == (60 if method == "craft" else 0)
    assert steps[-1].solution.refiner is not None


def test_a_model_that_answers_nan_stops_the_run(vlm: OpenCLIP, small_task: Task) -> None:
    class Broken(Counting):
        def logits(self, contexts: np.ndarray, images: ImageSet) -> Iterator[np.ndarray]:
            for logits in super().logits(contexts, images):
                yield np.full_like(logits, np.nan) if self.contexts > 15 else logits

    problem = open_problem(vlm, small_task.train, small_task.classnames)
    problem.box = Broken(problem.box)
    with pytest.raises(CraftZooError, match="NaN or infinite logits"):
        list(get_method("craft")(problem))


def test_names_and_needs() -> None:
    assert list(method_names()) == ["prompt", "refine", "craft", "zero-shot"]
    assert all(method_names().values())
    assert [uses_optimizer(name) for name in method_names()] == [True, False, True, False]
    with pytest.raises(CraftZooError, match="unknown method 'crafty': choose from prompt"):
        get_method("crafty")


def test_an_optimizer_may_end_the_search_and_says_why(vlm: OpenCLIP, small_task: Task) -> None:
    class Restless(Optimizer):
        """Gives up after one generation."""

        def _ask(self) -> np.ndarray:
            return self.rng.standard_normal((3, self.dim))

        def _tell(self, candidates, losses, outputs) -> None:
            pass

        def _stop(self) -> str | None:
            return "tired" if self.evaluations else None

        def recommend(self) -> np.ndarray:
            return np.zeros(self.dim)

    problem = open_problem(vlm, small_task.train, small_task.classnames, budget=30)
    steps = list(
        collaborate(
            problem.box,
            problem.images,
            problem.labels,
            meter=problem.meter,
            optimizer=Restless(4, budget=30, seed=1),
            subspace=Subspace.relative(problem.box.initial_context, 4, scale=1.0, seed=1),
            refiner=None,
            config=problem.config,
            seed=1,
        )
    )
    assert [(step.queries, step.ended) for step in steps] == [(0, None), (3, "tired")]


@pytest.mark.parametrize("optimizer", ["spsa", "nevergrad:OnePlusOne", "cma:popsize=7", "snes"])
def test_the_budget_is_used_whatever_the_generations(
    vlm: OpenCLIP, small_task: Task, optimizer: str
) -> None:
    problem = open_problem(
        vlm, small_task.train, small_task.classnames, budget=47, optimizer=optimizer
    )
    steps = list(get_method("prompt")(problem))
    assert problem.meter.queries == steps[-1].queries == 47
    assert steps[0].queries == 0
    assert np.array_equal(steps[0].solution.context, problem.box.initial_context)
