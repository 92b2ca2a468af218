"""Client of OpenAI's decisions API: ``openai:MODEL`` or ``openai:MODEL@https://HOST/v1``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.failures import reading
from craft_zoo.client.files import data_url
from craft_zoo.client.openai_sdk import OpenAIService
from craft_zoo.client.paid import Reply
from craft_zoo.client.question_service import (
    ImageQuestion,
    Limits,
    probabilities,
    probability,
    request_usage,
)
from craft_zoo.client.question_vlm import QuestionVLM
from craft_zoo.client.services import OpenAIOptions, address, open_service


class Decisions(OpenAIService):
    """OpenAI's ``POST /v1/decisions``: typed questions, answered by probabilities."""

    scheme = "openai:"
    limits = Limits(questions=400, options=255)

    def request(self, image: bytes, questions: Sequence[ImageQuestion]) -> dict[str, Any]:
        """See :meth:`QuestionService.request`."""
        part = {"type": "input_image", "image_url": data_url(image)}
        if self.options.detail is not None:
            part["detail"] = self.options.detail
        return {
            "model": self._model,
            "input": [{"role": "user", "content": [part]}],
            "questions": [_encoded(question) for question in questions],
        }

    def send(self, request: dict[str, Any], questions: Sequence[ImageQuestion], key: str) -> Reply:
        """See :meth:`QuestionService.send`."""
        create = self._client.client.decisions.with_raw_response.create
        body = self._client.call(create, request, key)
        with reading("its answer is not one to the questions"):
            usage = body["usage"]
            billed = request_usage(usage["input_tokens"], usage["output_tokens"])
            answers = [_decoded(*pair) for pair in zip(questions, body["answers"], strict=True)]
            return Reply(answers, billed)

    def expected(self, request: dict[str, Any], image: bytes) -> Usage:
        """See :meth:`QuestionService.expected`."""
        rule = self.options.tokens(self._model)
        count = rule.request + rule.of_image(image)
        for question in request["questions"]:
            options = [
                choice["value"] + choice.get("description", "")
                for choice in question.get("choices", ())
            ]
            count += rule.of_question(question["instructions"], options)
        return Usage(requests=1, images=1, input_tokens=count)


def _encoded(question: ImageQuestion) -> dict[str, Any]:
    if not question.options:
        return {"type": "predicate", "instructions": question.instructions}
    choices = [
        {"value": value, "description": description} if description else {"value": value}
        for value, description in question.options
    ]
    return {"type": "choice", "instructions": question.instructions, "choices": choices}


def _decoded(question: ImageQuestion, answer: dict[str, Any]) -> list[float] | None:
    """Probabilities in the order of the options; None: refused.

    Raises:
        KeyError, TypeError, ValueError: it is no answer to the question.
    """
    if answer["type"] == "refusal":
        return None
    if not question.options:
        return [probability(answer["probability"])]
    by_value = {one["value"]: one["probability"] for one in answer["probabilities"]}
    return probabilities(question, by_value)


@register_model(Decisions.scheme)
def open_decisions(spec: ModelSpec) -> QuestionVLM:
    """A model behind OpenAI's decisions API, openai:MODEL or openai:MODEL@https://HOST/v1."""
    model, url = address(spec, Decisions.scheme)
    return open_service(spec, lambda options: Decisions(model, url, options=options), OpenAIOptions)
