"""The methods with anchors: each deployed image costs more than one prediction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from craft_zoo.adapter import Solution
from craft_zoo.anchors import (
    Anchors,
    anchor_words,
    most_informative,
    most_spread,
    word_list,
    words_beside,
)
from craft_zoo.blackbox.base import several
from craft_zoo.craft import ConvexObjective, CraftConfig, Step
from craft_zoo.errors import CraftZooError
from craft_zoo.methods.base import (
    ANCHOR_SETTINGS,
    CONVEX_SETTINGS,
    SEARCH_SETTINGS,
    SUBSPACE_SETTINGS,
    Problem,
    register_method,
)
from craft_zoo.methods.collaborative import convex_objective, refine_once, search, subspace
from craft_zoo.seeding import generator

_POOL = 4  # times as many words are asked for where anchors are chosen


def _most_queries(config: CraftConfig, _budget: int, n_classes: int) -> int:
    return 1 + -(-_asked_for(config, len(word_list())) // n_classes)


def _asked_for(config: CraftConfig, n_words: int) -> int:
    """How many anchors are asked for, of so many words."""
    chosen = config.anchor_bank in ("spread", "information")
    return max(config.anchors, min(_POOL * config.anchors, n_words)) if chosen else config.anchors


def _anchor_prompts(config: CraftConfig, budget: int, n_classes: int) -> int:
    """One, which all words are filled into; or contexts, each for all class names."""
    if config.anchor_bank != "contexts":
        return 1
    return min(-(-config.anchors // n_classes), budget - 1)


def _prompts_alone(config: CraftConfig, budget: int, n_classes: int) -> int:
    return 1 + _anchor_prompts(config, budget, n_classes)


def _prompts_with_search(config: CraftConfig, budget: int, n_classes: int) -> int:
    """What the anchors leave of the budget, and their prompts."""
    # Each class name may be one of the words, which is then not asked for.
    asked = _asked_for(config, len(word_list()) - n_classes)
    taken = min(-(-asked // n_classes), budget - 1)
    return budget - taken + _anchor_prompts(config, budget, n_classes)


@register_method(
    "anchors",
    uses_optimizer=False,
    settings=SUBSPACE_SETTINGS | CONVEX_SETTINGS | ANCHOR_SETTINGS,
    queries=_most_queries,
    prompts=_prompts_alone,
    anchor_prompts=_anchor_prompts,
)
def anchors(problem: Problem) -> Iterator[Step]:
    """A convex refiner on the logits of classes and anchors (ours): 1 + M / C queries."""
    yield Step(0, Solution(problem.initial_prompt))
    yield from refine_once(problem, _anchored_objective(problem))


@register_method(
    "craft-anchors",
    settings=SEARCH_SETTINGS | CONVEX_SETTINGS | ANCHOR_SETTINGS,
    prompts=_prompts_with_search,
    anchor_prompts=_anchor_prompts,
)
def craft_anchors(problem: Problem) -> Iterator[Step]:
    """Context and refiner together, the refiner on classes and anchors (ours)."""
    yield Step(0, Solution(problem.initial_prompt))
    problem.check_accepts("contexts")  # before anchors are asked for, and paid
    yield from search(problem, _anchored_objective(problem))


def _anchored_objective(problem: Problem) -> ConvexObjective:
    """Asks for the anchors' logits on the training images."""
    if problem.meter.affordable_texts() <= len(problem.box.classnames):
        raise CraftZooError(
            f"a budget of {problem.budget} queries leaves nothing for anchors: "
            f"raise the budget or take a method without them"
        )
    bank = _contexts if problem.config.anchor_bank == "contexts" else _words
    asked, logits = bank(problem)
    return convex_objective(problem, anchors=asked, anchor_logits=logits)


def _words(problem: Problem) -> tuple[Anchors, np.ndarray]:
    """Words under the initial context, drawn or chosen of more; a query for each C asked for."""
    config, classnames = problem.config, problem.box.classnames
    count = _asked_for(config, len(words_beside(classnames)))
    # One query is left for the initial context.
    count = min(count, problem.meter.affordable_texts() - len(classnames))
    words = anchor_words(count, without=classnames, rng=generator(problem.seed, "anchors"))
    start = problem.initial_prompt
    prompts = several(start)
    logits = Anchors(words, prompts).logits(
        problem.meter.wrap(problem.classifier(words), "search"), problem.images
    )
    if config.anchor_bank != "words":
        keep = min(config.anchors, count)
        if config.anchor_bank == "spread":
            columns = most_spread(logits, keep)
        else:
            columns = most_informative(logits, problem.labels, keep)
        words, logits = tuple(words[column] for column in columns), logits[:, columns]
    return Anchors(words, prompts), logits


def _contexts(problem: Problem) -> tuple[Anchors, np.ndarray]:
    """The class names under contexts drawn in the subspace; a query each."""
    config, box = problem.config, problem.box
    count = -(-config.anchors // len(box.classnames))
    count = min(count, problem.meter.remaining - 1)
    rng = generator(problem.seed, "anchors")
    contexts = subspace(problem).prompts(rng.standard_normal((count, config.intrinsic_dim)))
    asked = Anchors(box.classnames, contexts)
    return asked, asked.logits(problem.meter.wrap(box, "search"), problem.images)
