"""Published black-box methods that search a soft prompt, in craft-zoo's subspace and defaults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from craft_zoo.craft import CrossEntropyObjective, Step
from craft_zoo.methods.collaborative import search
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import SEARCH_SETTINGS, register_method


@register_method("bbt", uses_optimizer=False, settings={"scale", "context"})
def bbt(problem: Problem) -> Iterator[Step]:
    """CMA-ES on a soft prompt in 500 dimensions, population 20 (BBT, Sun et al. 2022)."""
    config = replace(problem.config, intrinsic_dim=500)
    return _prompt_alone(replace(problem, config=config), "cma:popsize=20")


@register_method("spsa-gc", uses_optimizer=False, settings=SEARCH_SETTINGS)
def spsa_gc(problem: Problem) -> Iterator[Step]:
    """BlackVIP's gradient estimator on a soft prompt, not an image (SPSA-GC, Oh et al. 2023)."""
    return _prompt_alone(problem, "spsa-gc")


@register_method("spsa-clip", uses_optimizer=False, settings=SEARCH_SETTINGS)
def spsa_clip(problem: Problem) -> Iterator[Step]:
    """Two-point estimates on a soft prompt, clipped as in ZIP, whose other parts it lacks."""
    return _prompt_alone(problem, "spsa-clip")


def _prompt_alone(problem: Problem, optimizer: str) -> Iterator[Step]:
    return search(replace(problem, optimizer=optimizer), CrossEntropyObjective(problem.labels))
