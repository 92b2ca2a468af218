"""Client of chat models that see images: ``chat:MODEL`` or ``chat:MODEL@https://HOST/v1``."""

from __future__ import annotations

import base64
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.chat_answers import Named, is_cut, letter_of, named, normal, text_of
from craft_zoo.client.failures import reading
from craft_zoo.client.files import data_url
from craft_zoo.client.openai_sdk import OpenAIService
from craft_zoo.client.paid import Reply
from craft_zoo.client.question_service import ImageQuestion, Limits
from craft_zoo.client.question_vlm import QuestionVLM
from craft_zoo.client.services import OpenAIOptions, address, open_service
from craft_zoo.counts import counted
from craft_zoo.errors import CraftZooError

SCHEME = "chat:"
_TOP = 20  # log-probabilities of the likeliest tokens that the protocol returns


@dataclass(frozen=True)
class ChatOptions(OpenAIOptions):
    """Options of a chat model.

    Attributes:
        repeats: answers to each question, for a model that returns no log-probabilities: the shares
            of the options among the answers are its probabilities. 1: a single answer, at
            temperature 0.
        answer_tokens: maximum length of an answer, in tokens. A model that thinks needs hundreds.
        reasoning_effort: how long a model thinks; which values a model knows, its owner says.
            ``default``: the service's default.
    """

    repeats: int = 1
    answer_tokens: int = 8  # as many as "The correct answer is (B)" has
    reasoning_effort: Literal["default", "none", "minimal", "low", "medium", "high", "xhigh"] = (
        "default"
    )


class Chat(OpenAIService):
    """OpenAI's ``POST /v1/chat/completions``, as vLLM, Ollama, Gemini and OpenRouter offer it too.

    A question lists its options by letters, and the probabilities are those of the letters in the
    place of the one that the answer names (``top_logprobs``). Options whose letter is not among the
    20 likeliest tokens share what is missing to 1, each at most the least likely of those tokens.
    Answers without log-probabilities, and those that name an option in words, are labels. k of n
    labels for one of C options count as the probability (k + 1/2) / (n + C/2), the estimate of
    Krichevsky and Trofimov (1981). See :func:`~craft_zoo.client.chat_answers.named`.
    """

    scheme, options_type = SCHEME, ChatOptions
    options: ChatOptions
    # The letter of every option must fit among the likeliest tokens.
    limits = Limits(questions=1, options=_TOP, statements=False)
    rounds = False

    def request(self, image: bytes, questions: Sequence[ImageQuestion]) -> dict[str, Any]:
        """See :meth:`QuestionService.request`."""
        [question] = questions
        picture: dict[str, Any] = {"url": data_url(image)}
        if self.options.detail is not None:
            picture["detail"] = self.options.detail
        content = [
            {"type": "image_url", "image_url": picture},
            {"type": "text", "text": _text(question)},
        ]
        request = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "logprobs": True,
            "top_logprobs": _TOP,
            "temperature": 0 if self.options.repeats == 1 else 1,
            **answer_limit(self._url, self.options.answer_tokens),
        }
        if self.options.repeats > 1:
            request["n"] = self.options.repeats
        if self.options.reasoning_effort != "default":
            request["reasoning_effort"] = self.options.reasoning_effort
        return request

    def send(self, request: dict[str, Any], questions: Sequence[ImageQuestion], key: str) -> Reply:
        """See :meth:`QuestionService.send`."""
        create = self._client.client.chat.completions.with_raw_response.create
        body = self._client.call(create, request, key)
        with reading("its answer is no chat completion"):
            choices = body["choices"]
            billed = self._client.usage(body, lambda: self.expected(request, _image_in(request)))
            answer, source = _probabilities(questions[0], choices)
            reply = Reply([answer], billed, source)
            reply = reply if answer else self._unread(reply, choices)
        if len(choices) == 1 < self.options.repeats:
            raise CraftZooError(
                f"{self.name} gives 1 answer where {self.options.repeats} are asked for, as "
                f"services do that do not know the argument n: leave out repeats, or ask in "
                f"several orders of the options (--model-option permutations=…)"
            )
        return reply

    def _unread(self, reply: Reply, choices: list[dict[str, Any]]) -> Reply:
        """A reply that names no option, with what was said instead."""
        said = next(filter(None, map(text_of, choices)), "")
        if not any(map(is_cut, choices)):
            return reply._replace(said=said)
        limit = self.options.answer_tokens
        mend = (
            f"allow more than {counted(limit, 'token')} (--model-option answer_tokens=…), or let "
            f"the model think less (--model-option reasoning_effort=…)"
        )
        return reply._replace(said=said, mend=mend)

    def expected(self, request: dict[str, Any], image: bytes) -> Usage:
        """See :meth:`QuestionService.expected`."""
        rule, most = self.options.tokens(self._model), self.options.answer_tokens
        text = request["messages"][0]["content"][1]["text"]
        # Each line of an option has further tokens for its letter.
        tokens = rule.request + rule.of_image(image) + rule.of_text(text) + text.count("\n")
        answers = self.options.repeats * most
        return Usage(requests=1, images=1, input_tokens=tokens, output_tokens=answers)


def _image_in(request: dict[str, Any]) -> bytes:
    url = request["messages"][0]["content"][0]["image_url"]["url"]
    return base64.b64decode(url.partition(",")[2])


def answer_limit(url: str | None, tokens: int) -> dict[str, int]:
    """The argument that limits an answer to a number of tokens, at a base URL."""
    # OpenAI's newer models know only this name of the limit, other servers only the other.
    return {"max_completion_tokens" if url is None else "max_tokens": tokens}


def _text(question: ImageQuestion) -> str:
    letters = string.ascii_uppercase[: len(question.options)]
    lines = [
        f"{letter}. {value}" + (f": {description}" if description else "")
        for letter, (value, description) in zip(letters, question.options, strict=True)
    ]
    last = f"Answer with the letter of the option that fits best ({letters[0]} to {letters[-1]})."
    return "\n".join([question.instructions, *lines, f"{last} Write nothing but the letter."])


def _probabilities(
    question: ImageQuestion, choices: list[dict[str, Any]]
) -> tuple[list[float] | None, str]:
    """Probabilities of the options, None if no answer names one; and what they are made of.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: the answers are malformed.
    """
    values = [value for value, _ in question.options]
    totals, labels = np.zeros(len(values)), np.zeros(len(values))
    source = counted(len(choices), "label") + " without log-probabilities"
    for choice in choices:
        text = text_of(choice)
        option = named(text, values, cut=is_cut(choice))
        if option is None:
            continue
        tokens = (choice.get("logprobs") or {}).get("content") or []
        shares = _shares(tokens, text, option, len(values))
        if shares is None:
            labels[option.place] += 1
        else:
            source = f"the log-probabilities of the {_TOP} likeliest tokens"
            totals += shares
    # Half a label more for each option, as few labels do not show that an option is impossible.
    totals += labels.sum() * (labels + 0.5) / (labels + 0.5).sum()
    total = totals.sum()
    return ((totals / total).tolist() if total > 0 else None), source


def _shares(
    tokens: list[dict[str, Any]], text: str, option: Named, count: int
) -> np.ndarray | None:
    """Probabilities of the letters in the place of the one that an answer names; None: unknown."""
    # The tokens may begin with thoughts, and end with a token that is not shown.
    pieces = [normal(token["token"]) for token in tokens]
    start = "".join(pieces).rfind(text)
    if option.at is None or start < 0:
        return None
    ends = np.cumsum([len(piece) for piece in pieces])
    place = int(np.searchsorted(ends, start + option.at, side="right"))
    letters = list(string.ascii_uppercase[:count])
    if letter_of(pieces[place]) != letters[option.place]:
        return None
    shares, whole, least = np.zeros(count), 0.0, 1.0
    for one in tokens[place].get("top_logprobs") or ():
        share = math.exp(min(0.0, float(one["logprob"])))
        whole, least = whole + share, min(least, share)
        if (letter := letter_of(one["token"])) in letters:
            shares[letters.index(letter)] += share
    if not (whole < 1.01 and shares.any()):  # some services return 0 for every token
        return None
    absent = shares == 0
    shares[absent] = min(least, max(0.0, 1 - whole) / max(1, absent.sum()))
    return shares


@register_model(SCHEME)
def open_chat(spec: ModelSpec) -> QuestionVLM:
    """A chat model that sees images, chat:MODEL or chat:MODEL@https://HOST/v1."""
    model, url = address(spec, SCHEME)
    return open_service(spec, lambda options: Chat(model, url, options=options), ChatOptions)
