"""Prompts in words that a language model proposes: questions to it, and what its answers hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

ALTERNATIVES = 3  # prompts for each class that are asked for in a request
SHOWN = 3  # best, and as many worst prompts that the language model is shown, as Liu et al.
_CHARACTERS = 160  # of a proposal; few words may still be too long for a model's context
# A line of a list, as in "- …", "2) …" or "**3.** **Prompt 3:** …".
_MARKED = re.compile(
    r"(?:\*\*)?(?:[-*•–—+]|\(?\d+[.)])(?:\*\*)?\s+(?:\W*prompt(?: \d+)?\W*:\W*)?(.*)",
    re.IGNORECASE,
)
_QUOTES = " \"'`*“”„«»"
_QUOTED = re.compile(r"[*_]*[\"“`]([^\"“”`\n]*\{\}[^\"“”`\n]*)[\"”`]")
# {class name}, {{}} and [CLASS] stand for {}.
_PLACE = re.compile(r"\{+[\w ]*\}+|[\[<](?:class|label)[\w ]*[\]>]", re.IGNORECASE)

_INTRODUCTION = (
    "A vision-language model classifies images by how well they fit a text: a prompt, in which {} "
    "stands for the name of a class. These are the classes: "
)


class Judged(NamedTuple):
    """Scores of a prompt on the training images."""

    loss: float
    accuracy: float


def question(classnames: Sequence[str], judged: Mapping[str, Judged], count: int) -> str:
    """The question to the language model.

    Args:
        classnames: C class names.
        judged: the prompts so far.
        count: number of prompts to propose.
    """
    ranked = sorted(judged, key=lambda prompt: judged[prompt].loss)
    best, worst = ranked[:SHOWN], ranked[SHOWN:][-SHOWN:]

    def listed(prompts: Sequence[str]) -> list[str]:
        return [
            f"accuracy {judged[prompt].accuracy:.1%}, loss {judged[prompt].loss:.3f}: {prompt}"
            for prompt in prompts
        ]

    lines = [
        _INTRODUCTION + ", ".join(classnames) + ".",
        "The best prompts so far, with accuracy and loss on labelled images:",
        *listed(best),
        *(["The worst prompts so far:", *listed(worst)] if worst else []),
        f"Propose {count} new prompts that may have a lower loss than the best. Write each in a "
        "line of its own that begins with '- ', with {} exactly once and in fewer than 15 words. "
        "Write nothing else.",
    ]
    return "\n".join(lines)


def class_question(classnames: Sequence[str], lines: Sequence[str]) -> str:
    """The question to the language model for prompts of single classes.

    Args:
        classnames: C class names.
        lines: a line for each class in question, with its scores and its prompt.
    """
    return "\n".join(
        [
            _INTRODUCTION + ", ".join(classnames) + ".",
            "Each class has a prompt of its own. These have the largest loss on labelled images:",
            *lines,
            f"Propose {ALTERNATIVES} new prompts for each of these classes, which describe how it "
            "looks and how it differs from the class that it is taken for. Write each in a line of "
            "its own that begins with '- ', the class and ': ', with {} exactly once and in fewer "
            "than 20 words. Write nothing else.",
        ]
    )


def class_proposals(answer: str, classnames: Sequence[str]) -> list[tuple[int, str] | None]:
    """The prompts in an answer, each with the place of its class.

    None stands for a line of the list that names no class, or that :func:`proposals` has none for.
    """
    plain = [_plain(name) for name in classnames]
    # The name as it is written is preferred, as two names may differ in case alone.
    places = {name.casefold(): place for place, name in enumerate(plain)}
    places |= {name: place for place, name in enumerate(plain)}
    found: list[tuple[int, str] | None] = []
    for line in proposals(answer):
        before, mark, after = (line or "").partition("{}")
        parts = before.split(":")
        found.append(None)
        for count in range(1, len(parts)):  # a name may have colons: the longest one is taken
            name = _plain(":".join(parts[:count]))
            place = places.get(name, places.get(name.casefold()))
            if place is not None:
                text = ":".join(parts[count:]) + mark + after
                found[-1] = place, text.strip(_QUOTES)
    return found


def _plain(name: str) -> str:
    """A class name with single spaces and without quotation marks around it."""
    return " ".join(name.split()).strip(_QUOTES)


def proposals(answer: str) -> list[str | None]:
    """The prompts in an answer, each in a line of a list; without a list, in a line or in quotes.

    None stands for a line of the list that is no prompt: without exactly one place for the class
    name, not printable, or longer than 160 characters.
    """
    lines = [_PLACE.sub("{}", line).strip() for line in answer.splitlines()]
    texts = [marked[1] for marked in map(_MARKED.fullmatch, lines) if marked]
    if not texts:  # lines alone, or JSON
        for line in lines:
            quoted = _QUOTED.findall(line)
            if quoted and line[0] in "[{":
                texts += quoted
            elif "{}" in line and not line.endswith(":"):
                texts.append(line.strip("[], "))
    found: list[str | None] = []
    for text in texts:
        quoted_first = _QUOTED.match(text)  # an explanation may follow
        text = " ".join((quoted_first[1] if quoted_first else text).strip(_QUOTES).split())
        fits = text.count("{}") == 1 and text.isprintable() and len(text) <= _CHARACTERS
        found.append(text if fits else None)
    return found
