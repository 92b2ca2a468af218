"""Prompts as questions: a service of questions, opened on classes or on statements."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template, fill, templates_of
from craft_zoo.client.files import ImageFiles
from craft_zoo.client.question_service import ImageQuestion
from craft_zoo.client.word_box import WordBox, check_distinct
from craft_zoo.counts import counted
from craft_zoo.errors import CraftZooWarning

if TYPE_CHECKING:
    from craft_zoo.client.question_vlm import QuestionVLM

_INSTRUCTIONS = "Which of these does the image show?"
# Other instructions that a search of prompts in words may choose.
_QUESTIONS = (
    "What is the main object in the image?",
    "Which class does this photo belong to?",
    "Look at shape, colour and texture. Which class is it?",
    "Which of these descriptions fits the image best?",
    "An expert labelled this image. Which label was given?",
)
NONE = "none of these"  # option of every block, where the classes do not fit into one question
_PLAIN = as_template(DEFAULT_INIT)


class QuestionBox(WordBox):
    """A service opened on texts, to which each prompt becomes one or more questions."""

    _owner: QuestionVLM

    def _answers(
        self, prompts: Sequence[str | tuple[str, ...]], images: ImageFiles, name: str | None
    ) -> Iterator[np.ndarray]:
        groups = [self.questions_of(prompt) for prompt in prompts]
        answers = self._owner.ask(groups, images, name)
        for place in range(len(groups)):
            rows = [self._row(of_image[place]) for of_image in answers]
            yield np.stack(rows).astype(np.float32)

    @abstractmethod
    def questions_of(self, prompt: str | tuple[str, ...]) -> list[ImageQuestion]:
        """The questions of a prompt."""

    @abstractmethod
    def _row(self, answers: list[np.ndarray | None]) -> np.ndarray:
        """(C,) logits from the answers to those questions."""


class ClassBox(QuestionBox):
    """Classes, which exclude each other: options of questions."""

    questions = _QUESTIONS

    def __init__(self, owner: QuestionVLM, names: Sequence[str], init: str) -> None:
        super().__init__(owner, names, init)
        limit = owner.service.limits.options
        is_divided = len(names) > limit
        check_distinct((*names, NONE) if is_divided else names, owner.name)
        lacking = [name for name in names if name not in owner.descriptions]
        if owner.descriptions and lacking:
            warnings.warn(
                f"{len(lacking)} of {counted(len(names), 'class')} have no description, such as "
                f"{lacking[0]!r}: begin its line with these words (--model-option descriptions)",
                CraftZooWarning,
                stacklevel=2,
            )
        size = limit - 1 if is_divided else len(names)  # one option is "none of these"
        self._blocks = [range(at, min(at + size, len(names))) for at in range(0, len(names), size)]

    def questions_of(self, prompt: str | tuple[str, ...]) -> list[ImageQuestion]:
        templates = templates_of(prompt, len(self.classnames))
        instructions = split_template(templates[0])[0]
        options = [
            (name, f"{self._owner.descriptions.get(name, '')} {described(template, name)}".strip())
            for name, template in zip(self.classnames, templates, strict=True)
        ]
        return [
            ImageQuestion(instructions, tuple(one))
            for block in self._blocks
            for one in self._orders([options[place] for place in block])
        ]

    def _orders(self, options: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
        last = [(NONE, "")] if len(self._blocks) > 1 else []
        return [options[shift:] + options[:shift] + last for shift in self._shifts(len(options))]

    def _shifts(self, count: int) -> list[int]:
        """Number of places by which each order of the options is rotated."""
        orders = min(self._owner._permutations, count)  # there are no more rotations
        return [count * order // orders for order in range(orders)]

    def _row(self, answers: list[np.ndarray | None]) -> np.ndarray:
        remaining, pieces = iter(answers), []
        for block in self._blocks:
            orders = []
            for shift in self._shifts(len(block)):
                answer = next(remaining)
                if answer is not None:
                    ordered = np.roll(answer[: len(block)], shift)
                    orders.append(np.concatenate([ordered, answer[len(block) :]]))
            if not orders:  # all were refused
                pieces.append(np.zeros(len(block)))
                continue
            logs = np.log(np.mean(orders, axis=0))
            pieces.append(logs if len(self._blocks) == 1 else logs[:-1] - logs[-1])
        return np.concatenate(pieces)


class StatementBox(QuestionBox):
    """Texts that do not exclude each other: each a statement that may be true."""

    def questions_of(self, prompt: str | tuple[str, ...]) -> list[ImageQuestion]:
        templates = templates_of(prompt, len(self.classnames))
        stated = [
            f"The image shows {described(template, text) or text}"
            for text, template in zip(self.classnames, templates, strict=True)
        ]
        if self._owner.service.limits.statements:
            return [ImageQuestion(statement) for statement in stated]
        return [
            ImageQuestion(f"Is this true? {each}", (("yes", ""), ("no", ""))) for each in stated
        ]

    def _row(self, answers: list[np.ndarray | None]) -> np.ndarray:
        return np.array([0.0 if one is None else np.log(one[0] / one[1]) for one in answers])


def split_template(template: str) -> tuple[str, str]:
    """Instructions, and the template of the options' descriptions.

    "Which breed is it? a photo of a {}." asks "Which breed is it?" and describes each option by "a
    photo of a {}.". A template without a question mark before the class name is a description.
    """
    before = template.partition("{}")[0]
    instructions, mark, _ = before.rpartition("?")
    if not mark:
        return _INSTRUCTIONS, template
    return instructions + mark, template[len(instructions) + 1 :].strip()


def described(template: str, name: str) -> str:
    """The description of an option; "" if it says no more than the name."""
    description = split_template(template)[1]
    if description == _PLAIN:
        return ""
    filled = fill(description, name).strip()
    return "" if filled.rstrip(".") == name else filled
