"""Methods with anchors (texts beside the class names), which need more predictions per image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from craft_zoo.adapter import Solution
from craft_zoo.anchors import (
    Anchors,
    anchor_words,
    highest_variance,
    most_informative,
    word_list,
    words_excluding,
)
from craft_zoo.blackbox.base import several
from craft_zoo.craft import CraftConfig, Step
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

_POOL = 4  # candidate words scored per anchor, if anchors are selected


def _most_queries(config: CraftConfig, _budget: int, n_classes: int) -> int:
    return 1 + -(-_asked_for(config, len(word_list())) // n_classes)


def _asked_for(config: CraftConfig, n_words: int) -> int:
    """Number of anchors to score, given the number of available words."""
    chosen = config.anchor_bank in ("spread", "information")
    return max(config.anchors, min(_POOL * config.anchors, n_words)) if chosen else config.anchors


def _anchor_prompts(config: CraftConfig, budget: int, n_classes: int) -> int:
    """One prompt for all words; or, for ``contexts``, one prompt per C anchors."""
    if config.anchor_bank != "contexts":
        return 1
    return min(-(-config.anchors // n_classes), budget - 1)


def _prompts_alone(config: CraftConfig, budget: int, n_classes: int) -> int:
    return 1 + _anchor_prompts(config, budget, n_classes)


def _prompts_with_search(config: CraftConfig, budget: int, n_classes: int) -> int:
    """Queries that the anchors leave for the search, plus the anchors' prompts."""
    # Words that are class names are not scored; all C class names may be in the list.
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
    """A convex refiner on the logits of C classes and M anchors (ours): 1 + M / C queries."""
    yield Step(0, Solution(problem.initial_prompt))
    yield from refine_once(problem, *_ask(problem))


@register_method(
    "craft-anchors",
    settings=SEARCH_SETTINGS | CONVEX_SETTINGS | ANCHOR_SETTINGS,
    prompts=_prompts_with_search,
    anchor_prompts=_anchor_prompts,
)
def craft_anchors(problem: Problem) -> Iterator[Step]:
    """Context and refiner together, with the refiner on classes and anchors (ours)."""
    yield Step(0, Solution(problem.initial_prompt))
    problem.check_accepts("contexts")  # fail before paying for the anchors
    asked, logits = _ask(problem)
    yield from search(problem, convex_objective(problem, anchors=asked, anchor_logits=logits))


def _ask(problem: Problem) -> tuple[Anchors, np.ndarray]:
    """The anchors and their logits on the training images, which are queried."""
    if problem.meter.affordable_texts() <= len(problem.box.classnames):
        raise CraftZooError(
            f"a budget of {problem.budget} queries leaves nothing for anchors: "
            f"raise the budget or take a method without them"
        )
    bank = _contexts if problem.config.anchor_bank == "contexts" else _words
    return bank(problem)


def _words(problem: Problem) -> tuple[Anchors, np.ndarray]:
    """Anchors from words under the initial prompt, drawn or selected; one query per C words."""
    config, classnames = problem.config, problem.box.classnames
    count = _asked_for(config, len(words_excluding(classnames)))
    # Reserve one query for the initial context.
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
            columns = highest_variance(logits, keep)
        else:
            columns = most_informative(logits, problem.labels, keep)
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
