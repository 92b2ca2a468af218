"""Cost of a tuning run: upper bounds before the first query, and what was billed at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from craft_zoo import canaries
from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import VLM, Asked, Price, ReplayVLM, Usage
from craft_zoo.blackbox.usage import amount
from craft_zoo.counts import counted
from craft_zoo.data import Task
from craft_zoo.data.images import ImageSource
from craft_zoo.estimate import Choice, asks_anchors_anew
from craft_zoo.methods import (
    find_method,
    most_llm_usage,
    most_predictions,
    most_queries,
    starting_template,
)
from craft_zoo.rehearsal import expected_usage, rehearse
from craft_zoo.tuning import Tuned


@dataclass(frozen=True)
class Cost:
    """Cost of a run.

    Attributes:
        queries: queries of the search.
        run: what is billed for search and refiner.
        estimate: what is billed for the accuracy estimate at the end.
        canaries: predictions for canaries.
    """

    queries: int
    run: Usage
    estimate: Usage
    canaries: int

    @property
    def total(self) -> Usage:
        """All that is billed."""
        return self.run + self.estimate + Usage(self.canaries)

    def in_words(self, price: Price | None) -> str:
        """The cost as text."""
        predictions, estimate = self.run.predictions, self.estimate.predictions
        words = f"{counted(self.queries, 'query')} ({counted(predictions, 'prediction')}"
        beside = ((estimate, "the estimate"), (self.canaries, "canaries"))
        more = " and ".join(f"{count:,} for {what}" for count, what in beside if count)
        words += f", and {more})" if more else ")"
        units = replace(self.total, predictions=0)
        words += f", {units.in_words()}" if units != Usage() else ""
        return words if price is None else f"{words}, a price of {amount(price.cost(self.total))}"


def cost_of(tuned: Tuned, adapter: Adapter, vlm: VLM, estimate: Choice) -> Cost:
    """What a run has cost, by the model's own count where that has one."""
    asked = len(adapter.canaries or ()) * canaries.times_asked(vlm)
    of_canaries = asked * adapter.solution.billed_predictions
    searched, beside = tuned.meter.billed, Usage(estimate.predictions)
    if isinstance(vlm, ReplayVLM):
        beside = replace(vlm.billed, predictions=vlm.predictions - searched - of_canaries)
    return Cost(tuned.meter.queries, Usage(searched), beside, of_canaries)


def highest_cost(
    vlm: VLM,
    task: Task,
    arguments: dict[str, Any],
    estimate: Choice,
    kept: Sequence[ImageSource],
) -> Cost:
    """Upper bounds of queries and predictions, and what else a service is expected to bill."""
    method, config, budget = (arguments[name] for name in ("method", "config", "budget"))
    n_images, n_classes = len(task.train), len(task.classnames)
    queries = most_queries(method, config, budget, n_classes)
    run = Usage(most_predictions(method, config, budget, n_images, n_classes))
    run += most_llm_usage(method, config, budget, task.classnames) * estimate.runs
    beside = Usage(estimate.predictions)
    times = canaries.times_asked(vlm)
    found = find_method(method)
    asked_again = len(kept) * times * (1 + found.anchor_prompts(config, budget, n_classes))
    if not vlm.counts_usage:
        return Cost(queries, run, beside, asked_again)
    init = starting_template(config, task.template)
    rehearsed = rehearse(
        method,
        arguments["optimizer"] or found.default_optimizer,
        config,
        budget=budget,
        n_classes=n_classes,
        shots=n_images // n_classes,
        on_service=True,
        classnames=task.classnames,
    )
    expected = expected_usage(vlm, rehearsed, task.train.images, task.classnames, init)
    # An image is measured under the initial prompt and as a deployed one, with its anchors.
    measured = [Asked((init,)), Asked((init,)), *rehearsed.deployed]
    more = Usage()
    if estimate.kind == "whole":
        more = expected.scaled(estimate.share)
        more += vlm.expected_usage(measured, task.train.images, task.classnames, init)
    elif estimate.kind == "outside":
        more = vlm.expected_usage(measured, estimate.images.images, task.classnames, init)
    else:  # of the training images, most answers are known
        rest = estimate.predictions
        if estimate.kind == "shots" and asks_anchors_anew(method, config, budget, n_classes):
            more = vlm.expected_usage(rehearsed.deployed, task.train.images, task.classnames, init)
            rest -= more.predictions
        if rest:
            images = [task.train.images[place % n_images] for place in range(rest)]
            more += vlm.expected_usage([Asked((init,))], images, task.classnames, init)
    if kept:
        more += vlm.expected_usage(measured[1:], kept, task.classnames, init).scaled(times)
    more = replace(more, predictions=estimate.predictions)
    return Cost(queries, run + replace(expected, predictions=0), more, asked_again)
