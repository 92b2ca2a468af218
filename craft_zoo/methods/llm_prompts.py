"""llm-prompts, a search among prompts in words that a language model proposes."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from craft_zoo.blackbox.templates import as_template, templates_of
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.language_model import LanguageModel, expected_usage, parse_name
from craft_zoo.counts import counted
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.errors import CraftZooError
from craft_zoo.losses import mean_losses
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.methods.settings import own_settings
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers.option import Option
from craft_zoo.prompts import TEMPLATES
from craft_zoo.prompts.proposals import (
    ALTERNATIVES,
    SHOWN,
    Judged,
    class_proposals,
    class_question,
    proposals,
    question,
)
from craft_zoo.seeding import generator
from craft_zoo.solution import Solution
from craft_zoo.tensors import log_softmax, picked, tensor

_LOG = logging.getLogger("craft_zoo.methods")
_PATIENCE = 3  # answers in a row without a new prompt, after which the search ends

OPTIONS = (
    Option("llm", str, "", "language model: chat:MODEL, or chat:MODEL@https://HOST/v1"),
    Option("start", int, 20, "hand-written prompts that are queried first"),
    Option("proposals", int, 10, "prompts that are asked for in a request"),
    Option("class_share", float, 0.0, "share of the queries that search a prompt for each class"),
    Option("answer_tokens", int, 1000, "maximum length of an answer"),
)


def _checked(config: CraftConfig) -> dict[str, Any]:
    """The method's own settings by name."""
    own = own_settings("llm-prompts", config)
    for setting in ("start", "proposals", "answer_tokens"):
        if own[f"llm-prompts.{setting}"] < 1:
            raise CraftZooError(f"setting llm-prompts.{setting} must be at least 1")
    if not 0 <= own["llm-prompts.class_share"] < 1:
        raise CraftZooError("setting llm-prompts.class_share must be at least 0 and below 1")
    if not own["llm-prompts.llm"]:
        raise CraftZooError(
            "method 'llm-prompts' needs a language model, which bills its answers: set "
            "llm-prompts.llm=chat:MODEL, or chat:MODEL@https://HOST/v1 (--set)"
        )
    parse_name(own["llm-prompts.llm"])
    return own


class _Plan(NamedTuple):
    """Queries until which prompts for all classes are searched, and most requests of both searches.

    The requests are twice as many as suffice where every proposal is a new prompt.
    """

    shared: int
    requests: int
    class_requests: int


def _plan(config: CraftConfig, budget: int) -> _Plan:
    own = own_settings("llm-prompts", config)
    shared = budget - int(own["llm-prompts.class_share"] * budget)
    proposed = max(0, shared - min(own["llm-prompts.start"], len(TEMPLATES)))
    requests = -(-proposed // own["llm-prompts.proposals"])
    return _Plan(shared, 2 * requests, 2 * -(-(budget - shared) // (ALTERNATIVES + 1)))


def _most_usage(config: CraftConfig, budget: int, classnames: Sequence[str]) -> Usage:
    own, plan = _checked(config), _plan(config, budget)
    count, tokens = own["llm-prompts.proposals"], own["llm-prompts.answer_tokens"]
    usual = [f"a prompt of a usual length, number {place} of {{}}." for place in range(2 * SHOWN)]
    shown = dict.fromkeys(usual, Judged(1.0, 0.5))
    prompts = " | ".join(usual[: 1 + SHOWN])  # the best, and others that were not better
    lines = [f"{name}: accuracy 50.0%, taken for {name}: {prompts}" for name in classnames[:count]]
    usage = expected_usage(question(classnames, shown, count), tokens) * plan.requests
    usage += expected_usage(class_question(classnames, lines), tokens) * plan.class_requests
    return usage.as_llm()


@register_method(
    "llm-prompts",
    uses_optimizer=False,
    settings=(),
    own=OPTIONS,
    pays=_most_usage,
    asks_initial=False,  # it scores the template as text, not as the initial context
)
def llm_prompts(problem: Problem) -> Iterator[Step]:
    """Prompts that a language model proposes from the best and the worst (Liu et al. 2024).

    The model gets the class names, and prompts with their accuracy and loss on the training images:
    no image, and nothing of the test images. The prompt with the least loss is deployed. With the
    setting ``class_share``, it then proposes prompts for each class, as in ProAPO (Qu et al. 2025).
    """
    problem.check_accepts("texts")
    search, plan = _Search(problem), _plan(problem.config, problem.budget)
    yield Step(0, Solution(problem.initial_prompt))
    yield from search.shared(plan)
    if problem.meter.remaining and plan.class_requests:
        yield from search.class_specific(plan)
    if search.skipped:
        _LOG.warning(
            "%s: %s in %s skipped, as malformed or known",
            search.llm.name,
            counted(search.skipped, "proposal"),
            counted(search.requests, "answer"),
        )
    if problem.meter.remaining:
        answers = counted(search.requests, "answer")
        yield replace(
            search.step(), ended=f"the language model had too few new prompts in {answers}"
        )


class _Search:
    """The state of a run.

    Attributes:
        best: the best prompt, or one for each class.
        logits: (N, C) of the training images under it.
        requests: number of requests to the language model.
        skipped: number of proposals that were malformed or known.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.meter = problem, problem.meter
        self._own = problem.own_of("llm-prompts")
        own = _checked(problem.config)
        self.llm = LanguageModel(
            own["llm-prompts.llm"],
            answer_tokens=own["llm-prompts.answer_tokens"],
            cost_limit=problem.vlm.cost_limit,
        )
        self.requests = self.skipped = 0
        self.best: str | tuple[str, ...] = problem.template
        self.logits: np.ndarray | None = None
        self._loss = math.inf
        self._box = self.meter.wrap(problem.box, "search")

    def shared(self, plan: _Plan) -> Iterator[Step]:
        """Search one prompt for all classes: hand-written ones first, then proposals."""
        bank = [as_template(each) for each in TEMPLATES]
        order = generator(self.problem.seed, "llm-prompts").permutation(len(bank))
        start = dict.fromkeys([self.problem.template, *(bank[place] for place in order)])
        judged: dict[str, Judged] = {}

        def judge(prompts: Sequence[str]) -> Step:
            for prompt, logits in self._query(prompts[: plan.shared - self.meter.queries]):
                learnt = accuracy(logits, self.problem.labels)
                judged[prompt] = Judged(self._mean_loss(logits), learnt)
            return self.step()

        yield judge(list(start)[: self._own("start")])
        without = 0
        while (left := plan.shared - self.meter.queries) and self.requests < plan.requests:
            count = min(self._own("proposals"), left)
            names, place = self.problem.box.classnames, self.meter.queries
            example = "\n".join(f"- example {place + each} of {{}}." for each in range(count))
            found = proposals(self._ask(question(names, judged, count), example))
            new = [
                each
                for each in dict.fromkeys(found)
                if each is not None and each not in judged and self._box.fits(each)
            ]
            self.skipped += len(found) - len(new)
            without = 0 if new else without + 1
            if new:
                yield judge(new)
            elif without == _PATIENCE:
                return

    def class_specific(self, plan: _Plan) -> Iterator[Step]:
        """Search a prompt for each class, from the best for all.

        Each query has other prompts for several classes. The logits of a class depend on its own
        prompt, so the next query combines the prompts whose logits together have the least loss.
        """
        names, labels = self.problem.box.classnames, self.problem.labels
        assert self.logits is not None, "the initial prompt was queried"
        self.best = templates_of(self.best, len(names))
        tried = [[prompt] for prompt in self.best]
        asked = np.zeros(len(names), np.int64)
        shots = np.bincount(labels, minlength=len(names))
        before, without = self.requests, 0
        while self.meter.remaining and self.requests < before + plan.class_requests:
            losses = np.bincount(labels, self._losses(self.logits), len(names)) / np.maximum(
                1, shots
            )
            group = np.lexsort((-losses, asked))[: self._own("proposals")]
            asked[group] += 1
            example = "\n".join(
                f"- {names[place]}: example {self.meter.queries + each} of {{}}."
                for place in group
                for each in range(ALTERNATIVES)
            )
            lines = [self._line(place, tried[place]) for place in group]
            found = class_proposals(self._ask(class_question(names, lines), example), names)
            new: list[list[str]] = [[] for _ in names]
            for each in found:
                if each is None or each[1] in tried[each[0]] or not self._box.fits(each[1]):
                    self.skipped += 1
                else:
                    tried[each[0]].append(each[1])
                    new[each[0]].append(each[1])
            without = 0 if any(new) else without + 1
            if any(new):
                yield self._combine(new)
            elif without == _PATIENCE:
                return

    def _combine(self, new: Sequence[Sequence[str]]) -> Step:
        """Query the new prompts, one of each class at a time, then their best combination."""
        current, logits = tuple(self.best), self.logits
        assert logits is not None
        count = max(map(len, new))
        candidates = [
            tuple(
                own[place] if place < len(own) else prompt
                for own, prompt in zip(new, current, strict=True)
            )
            for place in range(count)
        ]
        mixed, prompts, least = logits.copy(), list(current), self._loss
        for candidate, answer in self._query(candidates):
            for place, prompt in enumerate(candidate):
                if prompt != current[place]:
                    trial = mixed.copy()
                    trial[:, place] = answer[:, place]
                    if (loss := self._mean_loss(trial)) < least:
                        mixed, least, prompts[place] = trial, loss, prompt
        if tuple(prompts) not in {current, *candidates} and self.meter.remaining:
            list(self._query([tuple(prompts)]))
        return self.step()

    def step(self) -> Step:
        """The state after the latest queries."""
        assert self.logits is not None
        learnt = accuracy(self.logits, self.problem.labels)
        solution = Solution(self.best)
        return Step(self.meter.queries, solution, self._loss, learnt, deployed_accuracy=learnt)

    def _ask(self, asked: str, example: str) -> str:
        self.requests += 1
        return self.problem.vlm.remembered(partial(self.llm.complete, asked), example)

    def _query(self, prompts: Sequence[str | tuple[str, ...]]) -> Iterator[tuple[Any, np.ndarray]]:
        """Each prompt with its (N, C) logits, as far as the budget reaches; keeps the best."""
        some = prompts[: self.meter.remaining]
        for prompt, logits in zip(some, self._box.logits(some, self.problem.images), strict=True):
            if (loss := self._mean_loss(logits)) < self._loss:
                self.best, self.logits, self._loss = prompt, logits, loss
            yield prompt, logits

    def _losses(self, logits: np.ndarray) -> np.ndarray:
        """(N,) cross-entropy of each training image."""
        return np.asarray(-picked(log_softmax(tensor(logits)), tensor(self.problem.labels)))

    def _mean_loss(self, logits: np.ndarray) -> float:
        return float(mean_losses(logits, self.problem.labels))

    def _line(self, place: int, tried: Sequence[str]) -> str:
        """A class with the accuracy on its images, the class it is taken for, and its prompts."""
        assert self.logits is not None
        names = self.problem.box.classnames
        answers = self.logits[self.problem.labels == place].argmax(axis=1)
        wrong = answers[answers != place]
        taken = f", taken for {names[np.bincount(wrong).argmax()]}" if len(wrong) else ""
        share = 1 - len(wrong) / max(1, len(answers))
        others = [each for each in tried if each != self.best[place]][-SHOWN:]
        worse = f" (not better: {' | '.join(others)})" if others else ""
        return f"{names[place]}: accuracy {share:.1%}{taken}: {self.best[place]}{worse}"
