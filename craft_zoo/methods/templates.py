"""Selection among a bank of hand-written prompts."""

from __future__ import annotations

from collections.abc import Iterator

from craft_zoo.blackbox.templates import as_template
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.losses import mean_losses
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.metrics import accuracy
from craft_zoo.prompts import TEMPLATES
from craft_zoo.solution import Solution


def _most_queries(config: CraftConfig, _budget: int, _n_classes: int) -> int:
    """One query per template of the bank, and one for the initial prompt if not in the bank."""
    bank = {as_template(each) for each in TEMPLATES}
    # The data set's own template is unknown here, so "dataset" counts as one more template.
    return len(bank | {as_template(config.template)})


@register_method(
    "templates",
    uses_optimizer=False,
    settings=(),
    queries=_most_queries,
    asks_initial=False,  # it scores the template as text, not as the initial context
)
def templates(problem: Problem) -> Iterator[Step]:
    """The hand-written prompt with the least training loss, from a bank: one query per prompt.

    Radford et al. 2021 choose prompts by hand, as hyper-parameters of zero-shot classification.
    """
    meter = problem.meter
    yield Step(0, Solution(problem.initial_prompt))
    bank = dict.fromkeys([problem.template, *map(as_template, TEMPLATES)])
    best = float("inf")
    search = meter.wrap(problem.box, "search")
    for template in list(bank)[: meter.remaining]:
        logits = search.score(template, problem.images)
        loss = float(mean_losses(logits, problem.labels))
        if loss < best:
            best, solution = loss, Solution(template)
            learnt = accuracy(logits, problem.labels)
        yield Step(meter.queries, solution, best, learnt, deployed_accuracy=learnt)
