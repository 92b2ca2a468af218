"""Descriptions of the classes in sentences: their ensemble, or a refiner that weighs them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydantic import TypeAdapter

from craft_zoo.anchors import Anchors
from craft_zoo.blackbox.templates import fill
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.errors import CraftZooError
from craft_zoo.files import HashedPath
from craft_zoo.methods.collaborative import refine_once
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import CONVEX_SETTINGS, register_method
from craft_zoo.methods.settings import own_settings
from craft_zoo.optimizers.option import Option
from craft_zoo.records import check, parse
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.solution import Solution


class Bank(HashedPath):
    """Path of a file of descriptions, with a hash of its content."""

    __slots__ = ()
    what = "descriptions"  # CuPL's sentences of ImageNet take 6 MB

    def descriptions(self) -> dict[str, list[str]]:
        """Class → its descriptions.

        Raises:
            CraftZooError: the file is missing, has changed since the hash was made, or is invalid.
        """
        if not self.path:
            raise CraftZooError(
                "method 'descriptions' needs a file: set descriptions.file=FILE (--set), a JSON "
                'object as {"river": ["which is blue", …], …}'
            )
        content = self.content()
        try:
            values = parse(content)
            check(TypeAdapter(dict[str, list[str]]), values)
            if any(not words.strip() for each in values.values() for words in each):
                raise ValueError("a description is empty")
        except ValueError as error:
            raise CraftZooError(
                f"{self.path} is no file of descriptions ({error}): write a JSON object as "
                f'{{"river": ["which is blue", …], …}}'
            ) from None
        return values


def sentence(description: str, classname: str, template: str) -> str:
    """The text of a description, with which the model is queried.

    A description that contains the class name is used unchanged, as CuPL's (Pratt et al. 2023). Any
    other is appended to the prompt as a clause, as DCLIP's (Menon and Vondrick 2023): ``a photo of
    a river, which has banks.``
    """
    description = " ".join(description.split())
    # As a word, or its plural, but not the ant in "antennae"; Chinese words have no spaces between.
    named = rf"(?<![a-z]){re.escape(classname)}(?:e?s)?(?![a-z])"
    if re.search(named, description, re.IGNORECASE):
        return description
    first = description.split(" ", 1)[0].casefold()
    if first in ("has", "often", "typically", "may", "can"):
        link = "which "
    elif first == "which":
        link = ""
    else:
        link = "which is " if first in ("a", "an", "used") else "which has "
    prompt = fill(template, classname)
    end = "." if prompt.endswith(".") else ""
    return f"{prompt.removesuffix('.')}, {link}{description.removesuffix('.')}{end}"


def ensemble(
    bank: Mapping[str, Sequence[str]], classnames: Sequence[str], template: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """The texts of all classes, and the weights whose sum is each class's mean.

    Args:
        bank: class → descriptions; other classes are ignored, and so is case.
        classnames: C class names.
        template: prompt to which descriptions without the class name are appended.

    Returns:
        M texts and (M, C) weights.

    Raises:
        CraftZooError: a class has no description.
    """
    found = {name.casefold(): each for name, each in bank.items()}
    texts: dict[str, dict[int, float]] = {}
    for place, name in enumerate(classnames):
        mine = dict.fromkeys(
            sentence(each, name, template) for each in found.get(name.casefold(), ())
        )
        if not mine:
            raise CraftZooError(
                f"the file of descriptions has none of {name!r}: add some, or name the classes as "
                f"it does (--classnames)"
            )
        for text in mine:
            texts.setdefault(text, {})[place] = 1 / len(mine)
    weights = np.zeros((len(texts), len(classnames)), np.float32)
    for row, shares in zip(weights, texts.values(), strict=True):
        row[list(shares)] = list(shares.values())
    return tuple(texts), weights


OPTIONS = (
    Option("file", Bank, Bank(""), "JSON file: class → list of descriptions"),
    Option("learns", bool, False, "whether a refiner learns what each description says"),
)


def _count(config: CraftConfig) -> int:
    """Number of descriptions in the file, of which a task may need fewer."""
    bank = Bank(own_settings("descriptions", config)["descriptions.file"]).descriptions()
    return sum(len(set(each)) for each in bank.values())


def _learns(config: CraftConfig) -> bool:
    return bool(own_settings("descriptions", config)["descriptions.learns"])


@register_method(
    "descriptions",
    uses_optimizer=False,
    settings=CONVEX_SETTINGS,
    own=OPTIONS,
    queries=lambda config, _, n: 1 + -(-_count(config) // n) if _learns(config) else 0,
    prompts=lambda config, *_: 2 if _learns(config) else 0,
    anchors=lambda config, *_: _count(config),
    anchor_prompts=lambda *_: 1,
)
def descriptions(problem: Problem) -> Iterator[Step]:
    """The mean logits of sentences that describe each class, from a file (DCLIP, CuPL).

    No training image is needed, unless the setting ``descriptions.learns`` fits the convex refiner
    to the logits of all sentences: 1 + M / C queries. A deployed image costs 1 + M / C predictions.
    """
    problem.check_accepts("texts")
    names = problem.box.classnames
    bank = Bank(problem.own("descriptions.file")).descriptions()
    texts, weights = ensemble(bank, names, problem.template)
    anchors = Anchors(texts, ("{}",))
    if not problem.own("descriptions.learns"):
        # The initial prompt's logits are subtracted: sentences alone decide, as in both papers.
        weight = np.concatenate([-np.eye(len(names), dtype=np.float32), weights])
        refiner = ConvexRefiner(weight, np.zeros(len(names), np.float32))
        yield Step(0, Solution(problem.initial_prompt, refiner, anchors))
        return
    yield Step(0, Solution(problem.initial_prompt))
    if problem.meter.affordable_texts() < len(texts) + len(names):
        raise CraftZooError(
            f"{len(texts):,} descriptions take {1 + -(-len(texts) // len(names)):,} queries, more "
            f"than the budget of {problem.budget:,}: raise the budget or shorten the file"
        )
    box = problem.meter.wrap(problem.classifier(texts), "search")
    logits = anchors.logits(box, problem.images)
    yield from refine_once(problem, anchors=anchors, anchor_logits=logits)
