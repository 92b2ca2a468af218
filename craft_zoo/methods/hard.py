"""Methods that search text prompts, for models that accept only text."""

from __future__ import annotations

from collections.abc import Iterator

from craft_zoo import optimizers
from craft_zoo.anchors import words_excluding
from craft_zoo.craft import CrossEntropyObjective, Objective, Step, collaborate
from craft_zoo.methods.base import CONVEX_SETTINGS, HARD_SETTINGS, Problem, register_method
from craft_zoo.methods.collaborative import convex_objective
from craft_zoo.prompts import TEMPLATES, HardSpace
from craft_zoo.seeding import derived_seed


@register_method("hard", is_categorical=True, settings=HARD_SETTINGS)
def hard(problem: Problem) -> Iterator[Step]:
    """Text prompts: a template and words for each class, chosen by the training loss (ours)."""
    return _choose(problem, CrossEntropyObjective(problem.labels))


@register_method("craft-hard", is_categorical=True, settings=HARD_SETTINGS | CONVEX_SETTINGS)
def craft_hard(problem: Problem) -> Iterator[Step]:
    """Text prompts, as in hard, and refiner together (ours)."""
    return _choose(problem, convex_objective(problem))


def _choose(problem: Problem, objective: Objective) -> Iterator[Step]:
    problem.check_accepts("texts")
    config = problem.config
    vocabulary = words_excluding(problem.box.classnames)
    own = config.context == "class-specific" and optimizers.uses_blocks(problem.optimizer)
    # With prompts for each class, all classes must share the question.
    questions = ("",) if own else ("", *problem.box.questions)
    templates = [problem.template, *TEMPLATES]
    space = HardSpace(
        [f"{question} {template}" for question in questions for template in templates],
        vocabulary,
        words=config.words,
        n_classes=len(problem.box.classnames) if own else None,
    )
    optimizer = optimizers.create(
        problem.optimizer,
        space.variables,
        budget=problem.budget,
        seed=derived_seed(problem.seed, "optimizer"),
    )
    return collaborate(
        problem.box,
        problem.images,
        meter=problem.meter,
        optimizer=optimizer,
        space=space,
        objective=objective,
        seed=problem.seed,
    )
