"""CraFT and its two halves."""

from __future__ import annotations

from collections.abc import Iterator

from craft_zoo import optimizers
from craft_zoo.craft import Step, collaborate, refine_only
from craft_zoo.methods.base import Problem, register_method
from craft_zoo.prompts import Subspace
from craft_zoo.refiner import Refiner
from craft_zoo.seeding import derived_seed


@register_method("prompt")
def prompt(problem: Problem) -> Iterator[Step]:
    """The prompt side alone: a context searched without gradients (BBT, Sun et al. 2022)."""
    return _collaborate(problem, None)


@register_method("refine", uses_optimizer=False)
def refine(problem: Problem) -> Iterator[Step]:
    """The refiner alone, on the logits of the initial context: one query."""
    return refine_only(
        problem.box,
        problem.images,
        problem.labels,
        meter=problem.meter,
        refiner=_refiner(problem),
        config=problem.config,
        seed=problem.seed,
        views=problem.views,
    )


@register_method("craft")
def craft(problem: Problem) -> Iterator[Step]:
    """Both sides together, each consistent with the other (CraFT, Wang et al. 2024)."""
    return _collaborate(problem, _refiner(problem))


def _collaborate(problem: Problem, refiner: Refiner | None) -> Iterator[Step]:
    config = problem.config
    return collaborate(
        problem.box,
        problem.images,
        problem.labels,
        meter=problem.meter,
        optimizer=optimizers.create(
            problem.optimizer,
            config.intrinsic_dim,
            budget=problem.budget,
            seed=derived_seed(problem.seed, "optimizer"),
        ),
        subspace=Subspace.relative(
            problem.box.initial_context,
            config.intrinsic_dim,
            scale=config.scale,
            seed=problem.seed,
        ),
        refiner=refiner,
        config=config,
        seed=problem.seed,
        views=problem.views,
    )


def _refiner(problem: Problem) -> Refiner:
    return Refiner(
        len(problem.box.classnames),
        problem.config.hidden,
        seed=derived_seed(problem.seed, "refiner"),
    )
