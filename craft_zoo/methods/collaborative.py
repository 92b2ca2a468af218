"""CraFT, and its halves: prompt search alone and refiner alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from craft_zoo import optimizers
from craft_zoo.craft import (
    ConvexObjective,
    CrossEntropyObjective,
    Objective,
    RefinerFitter,
    Step,
    collaborate,
)
from craft_zoo.errors import needs_extra
from craft_zoo.local_features import extract
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import REFINER_SETTINGS, SEARCH_SETTINGS, register_method
from craft_zoo.metrics import accuracy
from craft_zoo.prompts import PromptSpace, Subspace
from craft_zoo.seeding import derived_seed

if TYPE_CHECKING:
    from craft_zoo.craft.network_objective import NetworkObjective


@register_method("prompt", settings=SEARCH_SETTINGS)
def prompt(problem: Problem) -> Iterator[Step]:
    """The context alone, by gradient-free search (as BBT, Sun et al. 2022)."""
    return search(problem, CrossEntropyObjective(problem.labels))


@register_method("refine", uses_optimizer=False, settings=REFINER_SETTINGS, queries=lambda *_: 1)
def refine(problem: Problem) -> Iterator[Step]:
    """The refiner alone, on the initial prompt's logits: one query."""
    if problem.config.refiner == "convex":
        return refine_once(problem)
    return network_objective(problem).train_alone(
        problem.images, problem.budget, problem.initial_prompt
    )


@register_method("craft", settings=SEARCH_SETTINGS | REFINER_SETTINGS)
def craft(problem: Problem) -> Iterator[Step]:
    """Context and refiner together (after CraFT, Wang et al. 2024; theirs with refiner=network)."""
    if problem.config.refiner == "convex":
        return search(problem, convex_objective(problem))
    return search(problem, network_objective(problem))


def search(
    problem: Problem, objective: Objective, space: PromptSpace | None = None
) -> Iterator[Step]:
    """Run the collaborative loop with the problem's optimizer.

    Args:
        problem: the problem.
        objective: what is minimised.
        space: the search space; None: contexts in the problem's subspace.
    """
    space = space or subspace(problem, prompts_of_classes(problem))
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


def prompts_of_classes(problem: Problem) -> int | None:
    """Number of classes if each has a prompt of its own; None: one prompt for all classes."""
    own = problem.config.context == "class-specific" and optimizers.uses_blocks(problem.optimizer)
    return len(problem.box.classnames) if own else None


def subspace(problem: Problem, n_classes: int | None = None) -> Subspace:
    """The search space of contexts: one context per class, or (None) one for all classes."""
    config = problem.config
    return Subspace.relative(
        problem.initial_context,
        config.intrinsic_dim,
        scale=config.scale,
        seed=problem.seed,
        n_classes=n_classes,
    )


def refine_once(problem: Problem, **anchors: Any) -> Iterator[Step]:
    """Fit the convex refiner to the logits of one query, under the initial prompt.

    Args:
        problem: the problem.
        anchors: arguments of :class:`RefinerFitter` about anchors; none: it has no anchors.
    """
    fitter = refiner_fitter(problem, **anchors)
    start = problem.initial_prompt
    logits = problem.meter.wrap(problem.box, "search").score(start, problem.images)
    refiner = fitter.fit(logits)
    learnt = accuracy(fitter.refine(refiner, logits, problem.images), problem.labels)
    solution = fitter.solution(start, refiner)
    yield Step(problem.meter.queries, solution, train_accuracy=learnt, deployed_accuracy=learnt)


def convex_objective(problem: Problem, **anchors: Any) -> ConvexObjective:
    """The objective of the convex refiner; the arguments are those of :func:`refine_once`."""
    return ConvexObjective(
        refiner_fitter(problem, **anchors),
        meter=problem.meter,
        refit_queries=problem.config.refit_queries,
        patience=problem.config.patience,
        seed=problem.seed,
    )


def refiner_fitter(problem: Problem, **anchors: Any) -> RefinerFitter:
    """Fits the problem's convex refiner; computes the local features of the training images."""
    config = problem.config
    return RefinerFitter(
        labels=problem.labels,
        classnames=problem.box.classnames,
        groups=problem.groups,
        discriminant=config.discriminant,
        initial_answer=config.initial_answer,
        prior=config.prior,
        local=config.local,
        features=extract(config.local, problem.images) if config.local else (),
        **anchors,
    )


def network_objective(problem: Problem) -> NetworkObjective:
    """The objective of the network refiner."""
    with needs_extra("torch", "the network refiner"):
        from craft_zoo.craft.network_objective import NetworkObjective
        from craft_zoo.refiner.network import Refiner
    config = problem.config
    return NetworkObjective(
        problem.box,
        problem.labels,
        meter=problem.meter,
        refiner=Refiner(
            len(problem.box.classnames),
            config.hidden,
            seed=derived_seed(problem.seed, "refiner"),
        ),
        config=config,
        seed=problem.seed,
        views=problem.views,
    )
