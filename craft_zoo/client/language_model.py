"""Client of a language model that is asked in words alone: ``chat:MODEL@https://HOST/v1``."""

from __future__ import annotations

import logging
import os
import threading
from typing import NamedTuple

from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.load import ModelSpec
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.chat import SCHEME, answer_limit
from craft_zoo.client.chat_answers import is_cut, text_of
from craft_zoo.client.failures import reading
from craft_zoo.client.openai_sdk import KEY, OpenAIClient, environment_url
from craft_zoo.client.paid import PaidClient
from craft_zoo.client.services import address
from craft_zoo.counts import counted
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol.tokens import TokenRule

_LOG = logging.getLogger("craft_zoo.blackbox")
OWN_KEY = "LLM_API_KEY"  # environment variable of a key that the model which is tuned is not sent
_TIMEOUT = 300.0  # seconds; a long answer comes as a whole


class _Completion(NamedTuple):
    text: str
    usage: Usage
    is_cut: bool


class LanguageModel(PaidClient):
    """OpenAI's ``POST /v1/chat/completions``, asked for text at temperature 1.

    Its usage has units of its own (:attr:`Usage.llm_requests` …), under the cost limit of the model
    for which it proposes prompts.

    Args:
        name: ``chat:MODEL``, or ``chat:MODEL@https://HOST/v1``; the key is in the environment
            variable LLM_API_KEY, or else in OPENAI_API_KEY.
        answer_tokens: maximum length of an answer, in tokens.
        cost_limit: see :class:`PaidClient`.

    Raises:
        CraftZooError: the name is none of these, or see
            :class:`~craft_zoo.client.openai_sdk.OpenAIClient`.
    """

    def __init__(
        self, name: str, *, answer_tokens: int = 1000, cost_limit: CostLimit | None = None
    ) -> None:
        self._model, url = parse_name(name)
        self._url = url or environment_url()
        self._answer_tokens = answer_tokens
        variable = OWN_KEY if os.environ.get(OWN_KEY) else KEY
        self._client = OpenAIClient(self._url, timeout=_TIMEOUT, variable=variable)
        super().__init__(name, cost_limit=cost_limit)

    def complete(self, question: str) -> str:
        """The lines of the answer to a question, which is sent until it succeeds.

        The last line of an answer that ends at its maximum length is left out.

        Raises:
            CraftZooError: a limit of the cost would be exceeded, or the service gives no answer.
        """
        request = {
            "model": self._model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 1,
            **answer_limit(self._url, self._answer_tokens),
        }
        key = self._keys.key(question.encode())

        def send() -> _Completion:
            create = self._client.client.chat.completions.with_raw_response.create
            body = self._client.call(create, request, key)
            with reading("its answer is no chat completion"):
                choice, billed = body["choices"][0], self._client.usage(body, lambda: expected)
                return _Completion(text_of(choice), billed, is_cut(choice))

        expected = expected_usage(question, self._answer_tokens)
        completion = self._pay(send, expected, threading.Event())
        if not completion.is_cut:
            return completion.text
        lines = completion.text.rpartition("\n")[0]
        if not lines:
            _LOG.warning(
                "%s ends after %s, before its answer: raise llm-prompts.answer_tokens (--set)",
                self.name,
                counted(self._answer_tokens, "token"),
            )
        return lines

    def _counted(self, usage: Usage) -> Usage:
        return usage.as_llm()


def parse_name(name: str) -> tuple[str, str | None]:
    """The model and the base URL, None for OpenAI's, in a name of a language model.

    Raises:
        CraftZooError: it is no such name.
    """
    if not name.startswith(SCHEME):
        form = f"{SCHEME}MODEL or {SCHEME}MODEL@https://HOST/v1"
        raise CraftZooError(f"{name!r} is no name of a language model: write {form}")
    return address(ModelSpec(name), SCHEME)


def expected_usage(question: str, answer_tokens: int) -> Usage:
    """Estimate of the usage of a question whose answer has its full length."""
    rule = TokenRule()
    tokens = rule.request + rule.of_text(question)
    return Usage(requests=1, input_tokens=tokens, output_tokens=answer_tokens)
