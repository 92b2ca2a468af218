"""CraFT, and its halves: prompt search alone and refiner alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from craft_zoo import optimizers
from craft_zoo.adapter import Solution
from craft_zoo.anchors import Anchors
from craft_zoo.craft import (
    ConvexObjective,
    CrossEntropyObjective,
    NetworkObjective,
    Objective,
    Step,
    collaborate,
)
from craft_zoo.methods.base import (
    REFINER_SETTINGS,
    SEARCH_SETTINGS,
    Problem,
    register_method,
)
from craft_zoo.metrics import accuracy
from craft_zoo.prompts import Subspace
from craft_zoo.refiner import Refiner, choose_regularization, choose_sum, fit
from craft_zoo.seeding import derived_seed


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


def search(problem: Problem, objective: Objective) -> Iterator[Step]:
    """Run the collaborative loop with the problem's optimizer and subspace."""
    own = problem.config.context == "class-specific" and optimizers.uses_blocks(problem.optimizer)
    space = subspace(problem, len(problem.box.classnames) if own else None)
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


def refine_once(
    problem: Problem, anchors: Anchors | None = None, anchor_logits: np.ndarray | None = None
) -> Iterator[Step]:
    """Fit the convex refiner to the logits of one query, under the initial prompt.

    Args:
        problem: the problem.
        anchors: the anchors of the refiner; None: it has none.
        anchor_logits: (N, M) logits of the anchors on the training images.
    """
    start, labels = problem.initial_prompt, problem.labels
    logits = problem.meter.wrap(problem.box, "search").score(start, problem.images)
    choose = choose_sum if problem.config.discriminant else choose_regularization
    regularization = choose(logits, labels, anchor_logits)
    refiner = fit(logits, labels, anchor_logits, regularization=regularization)
    learnt = accuracy(refiner.refine(logits, anchor_logits), labels)
    yield Step(
        problem.meter.queries,
        Solution(start, refiner, anchors),
        train_accuracy=learnt,
    )


def convex_objective(problem: Problem, **anchors: Any) -> ConvexObjective:
    """The objective of the convex refiner; ``anchors`` are :class:`ConvexObjective` arguments."""
    return ConvexObjective(
        problem.labels,
        meter=problem.meter,
        discriminant=problem.config.discriminant,
        initial_answer=problem.config.initial_answer,
        refit_queries=problem.config.refit_queries,
        patience=problem.config.patience,
        seed=problem.seed,
        **anchors,
    )


def network_objective(problem: Problem) -> NetworkObjective:
    """The objective of the network refiner."""
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
