"""The methods with anchors: each deployed image costs more than one prediction."""

from __future__ import annotations

from collections.abc import Iterator

from craft_zoo.adapter import Solution
from craft_zoo.anchors import Anchors, anchor_words
from craft_zoo.craft import ConvexSide, Step
from craft_zoo.errors import CraftZooError
from craft_zoo.methods.base import Problem, register_method
from craft_zoo.methods.collaborative import convex_side, refine_once, search
from craft_zoo.seeding import generator


@register_method("anchors", uses_optimizer=False)
def anchors(problem: Problem) -> Iterator[Step]:
    """A convex refiner on the logits of classes and anchors (ours): 1 + M / C queries."""
    yield Step(0, Solution(problem.box.initial_context))
    yield from refine_once(problem, _anchored_side(problem))


@register_method("craft-anchors")
def craft_anchors(problem: Problem) -> Iterator[Step]:
    """Context and refiner together, the refiner on classes and anchors (ours)."""
    yield Step(0, Solution(problem.box.initial_context))
    yield from search(problem, _anchored_side(problem))


def _anchored_side(problem: Problem) -> ConvexSide:
    """Asks for the anchors' logits on the training images; M / C queries."""
    n_classes, meter = len(problem.box.classnames), problem.meter
    count = min(problem.config.anchors, meter.affordable_texts() - n_classes)
    if count < 1:
        raise CraftZooError(
            f"a budget of {problem.budget} queries leaves nothing for anchors: "
            f"raise the budget or take a method without them"
        )
    rng = generator(problem.seed, "anchors")
    words = anchor_words(count, without=problem.box.classnames, rng=rng)
    box = problem.vlm.classifier(words)
    asked = Anchors(words, box.initial_context[None])
    logits = asked.logits(meter.wrap(box, "search"), problem.images)
    return convex_side(problem, anchors=asked, anchor_logits=logits)
