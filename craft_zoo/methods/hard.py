"""Methods that search text prompts, for models that accept only text."""

from __future__ import annotations

from collections.abc import Iterator

from craft_zoo.anchors import words_excluding
from craft_zoo.craft import CrossEntropyObjective, Step
from craft_zoo.methods.collaborative import convex_objective, prompts_of_classes, search
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import CONVEX_SETTINGS, HARD_SETTINGS, register_method
from craft_zoo.prompts import TEMPLATES, HardSpace


@register_method("hard", is_categorical=True, settings=HARD_SETTINGS)
def hard(problem: Problem) -> Iterator[Step]:
    """Text prompts: a template and words for each class, chosen by the training loss (ours)."""
    return search(problem, CrossEntropyObjective(problem.labels), _space(problem))


@register_method("craft-hard", is_categorical=True, settings=HARD_SETTINGS | CONVEX_SETTINGS)
def craft_hard(problem: Problem) -> Iterator[Step]:
    """Text prompts, as in hard, and refiner together (ours)."""
    return search(problem, convex_objective(problem), _space(problem))


def _space(problem: Problem) -> HardSpace:
    problem.check_accepts("texts")
    n_classes = prompts_of_classes(problem)
    # With prompts for each class, all classes must share the question.
    questions = ("", *problem.box.questions) if n_classes is None else ("",)
    templates = [problem.template, *TEMPLATES]
    return HardSpace(
        [f"{question} {template}" for question in questions for template in templates],
        words_excluding(problem.box.classnames),
        words=problem.config.words,
        n_classes=n_classes,
    )
