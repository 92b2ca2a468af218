"""The zero-shot method: the unadapted model."""

from __future__ import annotations

from collections.abc import Iterator

from craft_zoo.craft import Step
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.solution import Solution


@register_method(
    "zero-shot", uses_optimizer=False, settings=(), queries=lambda *_: 0, asks_initial=False
)
def zero_shot(problem: Problem) -> Iterator[Step]:
    """The unadapted model with its initial prompt: no queries."""
    yield Step(queries=0, solution=Solution(problem.initial_prompt))
