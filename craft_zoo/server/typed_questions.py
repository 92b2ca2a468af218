"""Typed questions about an image (decisions, System One), answered by a model of texts and images.

An option is represented by one text, and its probability is the softmax of the model's logits over
the texts of the question. Instructions are not read, except as the statement of a question that
has no options.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from craft_zoo.blackbox import DEFAULT_INIT, as_template, fill
from craft_zoo.protocol import ErrorCode
from craft_zoo.server.errors import Refusal, bad
from craft_zoo.server.limits import Limits

NEUTRAL = "an image."  # with which a statement is compared
_TEMPLATE = as_template(DEFAULT_INIT)
_SHOWS = re.compile(r"(?:the|this) (?:image|photo|picture) shows ", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TypedQuestion:
    """A question, as texts that the model scores.

    Attributes:
        kind: a choice of one option, a score on ordered levels, or a statement that may be true.
        texts: the text of each option or level; of a statement, that for true and that for false.
        tokens: number of tokens of the question, as usage counts them.
    """

    kind: Literal["choice", "score", "statement"]
    texts: tuple[str, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class TypedAnswer:
    """The answer to a question, rounded.

    Attributes:
        probabilities: of each text.
        best: index of the likeliest text.
        confidence: 0 if all texts are equally likely, 1 if one is certain; of a score it also
            depends on how far apart the likely levels are.
        score: the expected level, counted from 0.
    """

    probabilities: list[float]
    best: int
    confidence: float
    score: float


def as_text(value: str | bool) -> str:
    """The value of an option as text."""
    return value if isinstance(value, str) else str(value).lower()


def option_text(value: str | bool, description: str | None = None) -> str:
    """The text of an option: its description, else "a photo of a VALUE."."""
    if description and description.strip():
        return description
    return fill(_TEMPLATE, as_text(value))


def level_text(label: str, description: str | None) -> str:
    """The text of a level: label and description, else as of an option."""
    if description and description.strip():
        return f"{label}: {description}"
    return option_text(label)


def statement_text(statement: str) -> str:
    """The text of a statement, such as "a photo of water." for "The image shows water."."""
    words = " ".join(statement.split()).removesuffix(".")
    shown = _SHOWS.match(words)
    return f"a photo of {words[shown.end() :]}." if shown else f"{words}."


def check_questions(questions: Sequence[TypedQuestion], limits: Limits, top_k: int | None) -> None:
    """Check the texts of a request's questions.

    Raises:
        Refusal: a text is too long, or a question has ``top_k`` texts or fewer.
    """
    for place, question in enumerate(questions):
        if top_k is not None and len(question.texts) <= top_k:
            raise bad(
                f"the server scores only the best {top_k} options, and question {place} has "
                f"{len(question.texts)}: give at least {top_k + 1} options"
            )
        for text in question.texts:
            if len(text) > limits.template_length:
                raise Refusal(
                    ErrorCode.TOO_LARGE,
                    f"the text {text[:20]!r}… of question {place} has more than "
                    f"{limits.template_length} characters: shorten it",
                )


def answers_to(
    questions: Sequence[TypedQuestion],
    probabilities: Callable[[Sequence[TypedQuestion]], np.ndarray],
    decimals: int,
) -> list[TypedAnswer]:
    """The answers to questions.

    The confidence is that of System One's reference implementation (``transformers.decision``).

    ``probabilities`` returns (Q, T) probabilities for Q questions of T texts each.
    """
    # Questions with equally many texts are computed together: a request may have hundreds.
    by_size: dict[int, list[int]] = {}
    for place, question in enumerate(questions):
        by_size.setdefault(len(question.texts), []).append(place)
    found: dict[int, TypedAnswer] = {}
    for n_texts, places in by_size.items():
        some = [questions[place] for place in places]
        rows, levels = probabilities(some), np.arange(n_texts)
        best = rows.argmax(axis=1)
        if n_texts == 1:
            confidence = np.ones(len(rows))
        else:
            distance = (rows * np.abs(levels - best[:, None])).sum(axis=1)
            uniform = np.abs(levels - (n_texts - 1) / 2).mean()
            chance = 1 / n_texts
            is_score = np.array([question.kind == "score" for question in some])
            confidence = np.where(
                is_score, 1 - distance / uniform, (rows.max(axis=1) - chance) / (1 - chance)
            ).clip(0)
        columns = (
            rows.round(decimals).tolist(),
            best.tolist(),
            confidence.round(decimals).tolist(),
            (rows @ levels).round(decimals).tolist(),
        )
        found.update(zip(places, map(TypedAnswer, *columns), strict=True))
    return [found[place] for place in range(len(questions))]
