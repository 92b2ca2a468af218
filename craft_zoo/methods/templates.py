"""The best of a bank of hand-written prompts."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from craft_zoo.adapter import Solution
from craft_zoo.blackbox.templates import as_template
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.losses import cross_entropy
from craft_zoo.methods.base import Problem, register_method
from craft_zoo.metrics import accuracy
from craft_zoo.prompts import TEMPLATES


def _most_queries(config: CraftConfig, _budget: int, _n_classes: int) -> int:
    """One each, the prompt that methods start from among them."""
    bank = {as_template(each) for each in TEMPLATES}
    # That of the data set is not known here, and may be another.
    return len(bank | {as_template(config.template)})


@register_method(
    "templates",
    uses_optimizer=False,
    settings=(),
    queries=_most_queries,
    asks_initial=False,  # in words, and that is another prompt than a context that stands for them
)
def templates(problem: Problem) -> Iterator[Step]:
    """The best of a bank of hand-written prompts, by the training images' loss: a query each.

    Prompts as hyper-parameters chosen by hand are the zero-shot practice of Radford et al. 2021.
    """
    meter = problem.meter
    yield Step(0, Solution(problem.initial_prompt))
    bank = dict.fromkeys([problem.template, *map(as_template, TEMPLATES)])
    labels = torch.from_numpy(problem.labels)
    best = float("inf")
    search = meter.wrap(problem.box, "search")
    for template in list(bank)[: meter.remaining]:
        logits = search.score(template, problem.images)
        loss = float(cross_entropy(torch.from_numpy(logits), labels))
        if loss < best:
            best, solution = loss, Solution(template)
            learnt = accuracy(logits, problem.labels)
        yield Step(meter.queries, solution, best, learnt)
