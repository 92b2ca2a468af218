"""The best of a bank of hand-written prompts."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from craft_zoo.adapter import Solution
from craft_zoo.craft import Step
from craft_zoo.losses import cross_entropy
from craft_zoo.methods.base import Problem, register_method
from craft_zoo.metrics import accuracy
from craft_zoo.prompts import TEMPLATES


@register_method("templates", uses_optimizer=False, settings=())
def templates(problem: Problem) -> Iterator[Step]:
    """The best of a bank of hand-written prompts, by the training images' loss: a query each.

    Prompts as hyper-parameters chosen by hand are the zero-shot practice of Radford et al. 2021.
    """
    box, meter = problem.box, problem.meter
    yield Step(0, Solution(box.initial_context))
    name = box.classnames[:1]
    contexts = [problem.vlm.classifier(name, words).initial_context for words in TEMPLATES]
    fitting = [context for context in contexts if context.shape == box.initial_context.shape]
    bank = {context.tobytes(): context for context in [box.initial_context, *fitting]}
    asked = list(bank.values())[: meter.remaining]
    labels = torch.from_numpy(problem.labels)
    best = float("inf")
    search = meter.wrap(box, "search")
    for context in asked:
        logits = search.score(context, problem.images)
        loss = float(cross_entropy(torch.from_numpy(logits), labels))
        if loss < best:
            best, solution = loss, Solution(context)
            learnt = accuracy(logits, problem.labels)
        yield Step(meter.queries, solution, best, learnt)
