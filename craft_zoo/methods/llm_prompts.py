"""Prompts in words that a language model proposes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from craft_zoo.adapter import Solution
from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.templates import as_template
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.language_model import LanguageModel
from craft_zoo.counts import counted
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.errors import CraftZooError
from craft_zoo.losses import cross_entropy
from craft_zoo.methods.base import Problem, own_settings, register_method
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers.option import Option
from craft_zoo.prompts import TEMPLATES
from craft_zoo.seeding import generator
from craft_zoo.tensors import tensor

_LOG = logging.getLogger("craft_zoo.methods")
_SHOWN = 3  # best, and as many worst prompts that the language model is shown, as Liu et al.
_CHARACTERS = 160  # of a proposal; longer ones may not fit into a model's context
_PATIENCE = 3  # answers in a row without a new prompt, after which the search ends
_MARKED = re.compile(r"(?:[-*•]|\d+[.)])\s+(.*)")  # a line of a list
_PLACE = re.compile(r"\{[\w ]*\}")  # {class name} stands for {}

OPTIONS = (
    Option("llm", str, "", "language model: chat:MODEL, or chat:MODEL@https://HOST/v1"),
    Option("start", int, 20, "hand-written prompts that are queried first"),
    Option("proposals", int, 10, "prompts that are asked for in a request"),
    Option("answer_tokens", int, 1000, "maximum length of an answer"),
)


class _Judged(NamedTuple):
    """Scores of a prompt on the training images."""

    loss: float
    accuracy: float


def _language_model(config: CraftConfig, cost_limit: CostLimit | None = None) -> LanguageModel:
    own = own_settings("llm-prompts", config)
    for setting in ("start", "proposals", "answer_tokens"):
        if own[f"llm-prompts.{setting}"] < 1:
            raise CraftZooError(f"setting llm-prompts.{setting} must be at least 1")
    if not own["llm-prompts.llm"]:
        raise CraftZooError(
            "method 'llm-prompts' needs a language model, which bills its answers: set "
            "llm-prompts.llm=chat:MODEL, or chat:MODEL@https://HOST/v1 (--set)"
        )
    return LanguageModel(
        own["llm-prompts.llm"],
        answer_tokens=own["llm-prompts.answer_tokens"],
        cost_limit=cost_limit,
    )


def _most_requests(config: CraftConfig, budget: int) -> int:
    """Twice as many requests as are needed where every proposal is a new prompt."""
    own = own_settings("llm-prompts", config)
    left = max(0, budget - min(own["llm-prompts.start"], len(TEMPLATES)))
    return 2 * -(-left // own["llm-prompts.proposals"])


def _most_usage(config: CraftConfig, budget: int, classnames: Sequence[str]) -> Usage:
    llm = _language_model(config)
    count = own_settings("llm-prompts", config)["llm-prompts.proposals"]
    shown = {
        f"a prompt of a usual length, number {place} of {{}}.": _Judged(1.0, 0.5)
        for place in range(2 * _SHOWN)
    }
    return llm.expected(question(classnames, shown, count)) * _most_requests(config, budget)


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
    no image, and nothing of the test images. The prompt with the least loss is deployed.
    """
    problem.check_accepts("texts")
    llm = _language_model(problem.config, problem.vlm.cost_limit)
    meter = problem.meter
    search, labels = meter.wrap(problem.box, "search"), tensor(problem.labels)
    judged: dict[str, _Judged] = {}

    def judge(prompts: Sequence[str]) -> Step:
        some = prompts[: meter.remaining]
        for prompt, logits in zip(some, search.logits(some, problem.images), strict=True):
            loss = float(cross_entropy(tensor(logits), labels))
            judged[prompt] = _Judged(loss, accuracy(logits, problem.labels))
        best = min(judged, key=lambda prompt: judged[prompt].loss)
        return Step(meter.queries, Solution(best), *judged[best])

    yield Step(0, Solution(problem.initial_prompt))
    bank = [as_template(each) for each in TEMPLATES]
    order = generator(problem.seed, "llm-prompts").permutation(len(bank))
    start = dict.fromkeys([problem.template, *(bank[place] for place in order)])
    step = judge(list(start)[: problem.own("llm-prompts.start")])
    yield step
    most, requests, skipped, without = _most_requests(problem.config, problem.budget), 0, 0, 0
    while meter.remaining and requests < most and without < _PATIENCE:
        count = min(problem.own("llm-prompts.proposals"), meter.remaining)
        asked = question(problem.box.classnames, judged, count)
        example = "\n".join(f"- example {meter.queries + place} of {{}}." for place in range(count))
        found = proposals(problem.vlm.remembered(partial(llm.complete, asked), example))
        new = [each for each in dict.fromkeys(found) if each is not None and each not in judged]
        requests, skipped = requests + 1, skipped + len(found) - len(new)
        without = 0 if new else without + 1
        if new:
            step = judge(new)
            yield step
    if skipped:
        _LOG.warning(
            "%s: %s in %s skipped, as malformed or known",
            llm.name,
            counted(skipped, "proposal"),
            counted(requests, "answer"),
        )
    if meter.remaining:
        yield replace(
            step,
            ended=f"the language model had too few new prompts in {counted(requests, 'answer')}",
        )


def question(classnames: Sequence[str], judged: Mapping[str, _Judged], count: int) -> str:
    """The question to the language model.

    Args:
        classnames: C class names.
        judged: the prompts so far.
        count: number of prompts to propose.
    """
    ranked = sorted(judged, key=lambda prompt: judged[prompt].loss)
    best, worst = ranked[:_SHOWN], ranked[_SHOWN:][-_SHOWN:]

    def listed(prompts: Sequence[str]) -> list[str]:
        return [
            f"accuracy {judged[prompt].accuracy:.1%}, loss {judged[prompt].loss:.3f}: {prompt}"
            for prompt in prompts
        ]

    lines = [
        "A vision-language model classifies images by how well they fit a text: a prompt, in which "
        "{} stands for the name of a class. These are the classes: " + ", ".join(classnames) + ".",
        "The best prompts so far, with accuracy and loss on labelled images:",
        *listed(best),
        *(["The worst prompts so far:", *listed(worst)] if worst else []),
        f"Propose {count} new prompts that may have a lower loss than the best. Write each in a "
        "line of its own that begins with '- ', with {} exactly once and in fewer than 15 words. "
        "Write nothing else.",
    ]
    return "\n".join(lines)


def proposals(answer: str) -> list[str | None]:
    """The prompts in an answer, each in a line of a list.

    None stands for a line of the list that is no prompt: without exactly one place for the class
    name, not printable, or longer than 160 characters.
    """
    found: list[str | None] = []
    for line in answer.splitlines():
        if marked := _MARKED.fullmatch(line.strip()):
            text = " ".join(_PLACE.sub("{}", marked[1]).strip("\"'`“”").split())
            fits = text.count("{}") == 1 and text.isprintable() and len(text) <= _CHARACTERS
            found.append(text if fits else None)
    return found
