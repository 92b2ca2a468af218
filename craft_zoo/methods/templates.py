"""The best of a bank of hand-written prompts."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from craft_zoo.adapter import Solution
from craft_zoo.blackbox.templates import as_template
from craft_zoo.craft import Step
from craft_zoo.losses import cross_entropy
from craft_zoo.methods.base import Problem, register_method
from craft_zoo.metrics import accuracy
from craft_zoo.prompts import TEMPLATES


@register_method(
    "templates", uses_optimizer=False, settings=(), queries=lambda *_: 1 + len(TEMPLATES)
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
