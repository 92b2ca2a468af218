"""Methods with anchors (texts besides the class names), which need more predictions an image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from craft_zoo.anchors import (
    Anchors,
    Background,
    BackgroundFile,
    anchor_words,
    highest_variance,
    most_informative,
    word_list,
    words_excluding,
)
from craft_zoo.blackbox.base import several
from craft_zoo.counts import counted
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.errors import CraftZooError
from craft_zoo.methods.collaborative import convex_objective, refine_once, search, subspace
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import (
    ANCHOR_SETTINGS,
    CONVEX_SETTINGS,
    SEARCH_SETTINGS,
    SUBSPACE_SETTINGS,
    register_method,
)
from craft_zoo.seeding import generator
from craft_zoo.solution import Solution, are_learnt_from

_POOL = 4  # candidate words scored per anchor, if anchors are selected


def _most_queries(config: CraftConfig, _budget: int, n_classes: int) -> int:
    asked = _asked_for(config, len(_words_of(config))) if _allowed(config, n_classes) else 0
    return 1 + -(-asked // n_classes)


def _allowed(config: CraftConfig, n_classes: int) -> int:
    """Maximum number of anchors that may be deployed; without a limit, at least that of all."""
    if not config.per_image:
        return n_classes * config.anchors
    allowed = math.floor((config.per_image - 1) * n_classes + 1e-6)
    if config.anchor_bank == "contexts":
        return allowed - allowed % n_classes
    return allowed if allowed > 1 else 0  # one alone, less the mean over all, is nothing


def _background_of(config: CraftConfig) -> Background | None:
    return BackgroundFile(config.background).load() if config.background else None


def _words_of(config: CraftConfig) -> tuple[str, ...]:
    """The words from which anchors are drawn: those of the background, or those shipped."""
    background = _background_of(config)
    return word_list() if background is None else background.words


def _asked_for(config: CraftConfig, n_words: int) -> int:
    """Number of anchors to score, given the number of available words."""
    chosen = config.anchor_bank in ("spread", "information")
    return max(config.anchors, min(_POOL * config.anchors, n_words)) if chosen else config.anchors


def _asked_prompts(config: CraftConfig, budget: int, n_classes: int) -> int:
    """One prompt for all words; or, for ``contexts``, one prompt per C anchors."""
    if not _allowed(config, n_classes):
        return 0
    if config.anchor_bank != "contexts":
        return 1
    return min(-(-config.anchors // n_classes), budget - 1)


def _deployed(config: CraftConfig, budget: int, n_classes: int) -> int:
    """Number of anchors that are deployed."""
    allowed = _allowed(config, n_classes)
    if config.anchor_bank == "contexts":
        return min(n_classes * _asked_prompts(config, budget, n_classes), allowed)
    return min(config.anchors, (budget - 1) * n_classes, allowed)


def _deployed_prompts(config: CraftConfig, budget: int, n_classes: int) -> int:
    deployed = _deployed(config, budget, n_classes)
    return deployed // n_classes if config.anchor_bank == "contexts" else min(deployed, 1)


def _chooses_words(config: CraftConfig, budget: int, n_classes: int) -> bool:
    allowed = _allowed(config, n_classes)
    if config.anchor_bank in ("spread", "information"):
        return allowed > 0
    return config.anchor_bank == "words" and 0 < allowed < min(
        config.anchors, (budget - 1) * n_classes
    )


def _prompts_alone(config: CraftConfig, budget: int, n_classes: int) -> int:
    return 1 + _asked_prompts(config, budget, n_classes)


def _prompts_with_search(config: CraftConfig, budget: int, n_classes: int) -> int:
    """Queries that the anchors leave for the search, plus the anchors' prompts."""
    if not _allowed(config, n_classes):
        return budget
    # Words that are class names are not scored; all C class names may be in the list.
    asked = _asked_for(config, len(_words_of(config)) - n_classes)
    taken = min(-(-asked // n_classes), budget - 1)
    return budget - taken + _asked_prompts(config, budget, n_classes)


@register_method(
    "anchors",
    uses_optimizer=False,
    settings=SUBSPACE_SETTINGS | CONVEX_SETTINGS | ANCHOR_SETTINGS,
    queries=_most_queries,
    prompts=_prompts_alone,
    anchors=_deployed,
    anchor_prompts=_deployed_prompts,
    chooses_words=_chooses_words,
)
def anchors(problem: Problem) -> Iterator[Step]:
    """A convex refiner on the logits of C classes and M anchors (ours): 1 + M / C queries."""
    yield Step(0, Solution(problem.initial_prompt))
    yield from refine_once(problem, **_ask(problem))


@register_method(
    "craft-anchors",
    settings=SEARCH_SETTINGS | CONVEX_SETTINGS | ANCHOR_SETTINGS,
    prompts=_prompts_with_search,
    anchors=_deployed,
    anchor_prompts=_deployed_prompts,
    chooses_words=_chooses_words,
)
def craft_anchors(problem: Problem) -> Iterator[Step]:
    """Context and refiner together, with the refiner on classes and anchors (ours)."""
    yield Step(0, Solution(problem.initial_prompt))
    problem.check_accepts("contexts")  # fail before paying for the anchors
    yield from search(problem, convex_objective(problem, **_ask(problem)))


def _ask(problem: Problem) -> dict[str, Any]:
    """The anchors, their logits on the training images, and how many are deployed; queries them.

    Empty if ``per_image`` leaves no room for anchors: the method is then the one without them.
    """
    allowed = _allowed(problem.config, len(problem.box.classnames))
    if not allowed:
        return {}
    if problem.meter.affordable_texts() <= len(problem.box.classnames):
        raise CraftZooError(
            f"a budget of {counted(problem.budget, 'query')} leaves nothing for anchors: "
            f"raise the budget or take a method without them"
        )
    bank = _contexts if problem.config.anchor_bank == "contexts" else _words
    asked, logits = bank(problem)
    return {
        "anchors": asked,
        "anchor_logits": logits,
        "deployed": allowed,
        "background": _background_of(problem.config),
    }


def _words(problem: Problem) -> tuple[Anchors, np.ndarray]:
    """Anchors from words under the initial prompt, drawn or selected; one query per C words."""
    config, classnames = problem.config, problem.box.classnames
    among = _words_of(config)
    count = _asked_for(config, len(words_excluding(classnames, among)))
    # Reserve one query for the initial context.
    count = min(count, problem.meter.affordable_texts() - len(classnames))
    rng = generator(problem.seed, "anchors")
    words = anchor_words(count, without=classnames, rng=rng, among=among)
    start = problem.initial_prompt
    prompts = several(start)
    logits = Anchors(words, prompts).logits(
        problem.meter.wrap(problem.classifier(words), "search"), problem.images
    )
    if config.anchor_bank != "words":
        keep, learnt = min(config.anchors, count), are_learnt_from(problem.labels, logits)
        if config.anchor_bank == "spread":
            columns = highest_variance(logits[learnt], keep)
        else:
            columns = most_informative(logits[learnt], problem.labels[learnt], keep)
        words, logits = tuple(words[column] for column in columns), logits[:, columns]
    return Anchors(words, prompts), logits


def _contexts(problem: Problem) -> tuple[Anchors, np.ndarray]:
    """Anchors from the class names under random contexts of the subspace; one query each."""
    config, box = problem.config, problem.box
    count = -(-config.anchors // len(box.classnames))
    count = min(count, problem.meter.remaining - 1)
    rng = generator(problem.seed, "anchors")
    contexts = subspace(problem).prompts(rng.standard_normal((count, config.intrinsic_dim)))
    asked = Anchors(box.classnames, contexts)
    return asked, asked.logits(problem.meter.wrap(box, "search"), problem.images)
