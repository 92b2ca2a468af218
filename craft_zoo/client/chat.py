"""Client of chat models that see images: ``chat:MODEL`` or ``chat:MODEL@https://HOST/v1``."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.failures import reading
from craft_zoo.client.openai_sdk import OpenAIService
from craft_zoo.client.paid import data_url
from craft_zoo.client.questions import Limits, Question, QuestionVLM, Reply, request_usage
from craft_zoo.client.services import OpenAIOptions, address, open_service
from craft_zoo.counts import counted

SCHEME = "chat:"
_TOP = 20  # log-probabilities of the likeliest tokens that the protocol returns


@dataclass(frozen=True)
class ChatOptions(OpenAIOptions):
    """Options of a chat model.

    Attributes:
        repeats: answers to each question, for a model that returns no log-probabilities: the shares
            of the options among the answers are its probabilities. 1: a single answer, at
            temperature 0.
        answer_tokens: maximum length of an answer, in tokens.
    """

    repeats: int = 1
    answer_tokens: int = 1


class Chat(OpenAIService):
    """OpenAI's ``POST /v1/chat/completions``, as vLLM, Ollama, Gemini and OpenRouter offer it too.

    A question lists its options by letters, and the probabilities are those of the letters as the
    first token of the answer (``top_logprobs``). Options whose letter is not among the 20 likeliest
    tokens have probability 0. Without log-probabilities, the answers are counted.
    """

    scheme, options_type = SCHEME, ChatOptions
    options: ChatOptions
    # The letter of every option must fit among the likeliest tokens.
    limits = Limits(questions=1, options=_TOP, statements=False)

    def request(self, image: bytes, questions: Sequence[Question]) -> dict[str, Any]:
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
        return request if self.options.repeats == 1 else request | {"n": self.options.repeats}

    def send(self, request: dict[str, Any], questions: Sequence[Question], key: str) -> Reply:
        """See :meth:`QuestionService.send`."""
        create = self._client.client.chat.completions.with_raw_response.create
        body = self._client.call(create, request, key)
        with reading("its answer is no chat completion"):
            usage = body["usage"]
            billed = request_usage(usage["prompt_tokens"], usage["completion_tokens"])
            answer, source = _probabilities(questions[0], body["choices"])
            return Reply([answer], billed, source)

    def expected(self, request: dict[str, Any], image: bytes) -> Usage:
        """See :meth:`QuestionService.expected`."""
        rule, repeats = self.options.tokens(self._model), self.options.repeats
        text = request["messages"][0]["content"][1]["text"]
        # Each line of an option has further tokens for its letter.
        tokens = rule.request + rule.of_image(image) + rule.of_text(text) + text.count("\n")
        return Usage(requests=1, images=1, input_tokens=tokens, output_tokens=repeats)


def answer_limit(url: str | None, tokens: int) -> dict[str, int]:
    """The argument that limits an answer to a number of tokens, at a base URL."""
    # OpenAI's newer models know only this name of the limit, other servers only the other.
    return {"max_completion_tokens" if url is None else "max_tokens": tokens}


def _text(question: Question) -> str:
    letters = string.ascii_uppercase[: len(question.options)]
    lines = [
        f"{letter}. {value}" + (f": {description}" if description else "")
        for letter, (value, description) in zip(letters, question.options, strict=True)
    ]
    last = f"Answer with the letter of the option that fits best ({letters[0]} to {letters[-1]})."
    return "\n".join([question.instructions, *lines, f"{last} Write nothing but the letter."])


def _probabilities(
    question: Question, answers: list[dict[str, Any]]
) -> tuple[list[float] | None, str]:
    """Probabilities of the options, None if no answer names one; and what they are made of.

    Raises:
        KeyError, TypeError, ValueError, IndexError: the answers are malformed.
    """
    letters = string.ascii_uppercase[: len(question.options)]
    totals = dict.fromkeys(letters, 0.0)
    source = counted(len(answers), "label") + " without log-probabilities"
    for answer in answers:
        tokens = (answer.get("logprobs") or {}).get("content") or []
        if tokens:
            source = f"the log-probabilities of the {_TOP} likeliest tokens"
            for one in tokens[0]["top_logprobs"]:
                letter = re.sub(r"[^A-Za-z]", "", one["token"]).upper()
                if letter in totals:
                    totals[letter] += math.exp(min(0.0, float(one["logprob"])))
            continue
        named = _named(answer["message"].get("content") or "", question, letters)
        if named is not None:
            totals[named] += 1
    total = sum(totals.values())
    shares = [totals[letter] / total for letter in letters] if total > 0 else None
    return shares, source


def _named(text: str, question: Question, letters: str) -> str | None:
    """The letter of the option that a text names, by its letter or in words; None: none."""
    by_value = {
        value.casefold(): letter
        for letter, (value, _) in zip(letters, question.options, strict=True)
    }
    words = text.casefold().strip(" \n.\"'")
    for said in (words, re.sub(r"^an? ", "", words)):
        if len(said) > 1 and said in by_value:
            return by_value[said]
    # Before a further word, as in "A red dog" or "I cannot say", A and I are words and no letters.
    found = re.match(r"\W*(?:[ai]\b(?!['’ ]\w)|[b-hj-z]\b)", text.casefold())
    if found and found[0][-1].upper() in letters:
        return found[0][-1].upper()
    return by_value.get(words)


@register_model(SCHEME)
def open_chat(spec: ModelSpec) -> QuestionVLM:
    """A chat model that sees images, chat:MODEL or chat:MODEL@https://HOST/v1."""
    model, url = address(spec, SCHEME)
    return open_service(spec, lambda options: Chat(model, url, options=options), ChatOptions)
