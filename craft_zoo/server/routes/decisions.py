"""OpenAI's decisions: typed questions about the one image of the input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import Response

from craft_zoo.protocol import paths
from craft_zoo.server.admission import Reservation
from craft_zoo.server.bodies import parse
from craft_zoo.server.call import Caller
from craft_zoo.server.errors import bad
from craft_zoo.server.openai_schemas import (
    OPTIONS,
    QUESTIONS,
    AnyQuestion,
    ChoiceQuestion,
    DecisionAnswer,
    DecisionRequest,
    DecisionUsage,
    InputText,
    PredicateQuestion,
    ScoreQuestion,
)
from craft_zoo.server.routes.common import OptionalKey, errors, guarded, takes
from craft_zoo.server.routes.typed import RULE, TypedRequest, answer_typed
from craft_zoo.server.schemas import json_body
from craft_zoo.server.typed_questions import (
    NEUTRAL,
    TypedAnswer,
    TypedQuestion,
    as_text,
    level_text,
    option_text,
    statement_text,
)

router = guarded("OpenAI")

_OPTIONS = QUESTIONS * OPTIONS


@router.post(
    paths.DECISIONS,
    response_model=DecisionAnswer,
    responses=errors(400, 404, 413, 415, schema="OpenAIErrorAnswer"),
    openapi_extra=takes(json_body(DecisionRequest)),
)
async def decide(call: Caller, key: OptionalKey = None) -> Response:
    """Answer questions about an image by probabilities. Instructions are not read."""
    return await answer_typed(call, key, "decisions", _read)


def _read(body: bytes, reservation: Reservation) -> TypedRequest:
    # An option has three values (itself, value, description) and two names, a question four.
    reading = partial(parse, values=3 * _OPTIONS, keys=2 * _OPTIONS + 4 * QUESTIONS + 100)
    asked = reading(DecisionRequest, body, reservation)
    items = asked.input if isinstance(asked.input, list) else []
    images = [(image.image_url, "input") for item in items for image in item.images]
    for url, field in images:
        if not url.lower().startswith(("data:", "http://", "https://")):
            raise bad("the image is no data URL: send data:image/png;base64,…", 400, field)
    return TypedRequest(
        asked.model,
        images,
        [_question(question, place) for place, question in enumerate(asked.questions)],
        partial(_answer, asked),
    )


def _question(question: AnyQuestion, place: int) -> TypedQuestion:
    instructions = _instructions(question)
    if isinstance(question, ChoiceQuestion):
        texts = tuple(option_text(each.value, each.description) for each in question.choices)
        options = [f"{as_text(each.value)}{each.description}" for each in question.choices]
        return TypedQuestion("choice", texts, RULE.of_question(instructions, options))
    if isinstance(question, ScoreQuestion):
        texts = tuple(level_text(each.label, each.description) for each in question.levels)
        options = [each.label + each.description for each in question.levels]
        return TypedQuestion("score", texts, RULE.of_question(instructions, options))
    if not instructions.strip():
        raise bad(
            f"question {place} states nothing: say in its instructions what the image may show",
            400,
            f"questions.{place}.instructions",
        )
    texts = statement_text(instructions), NEUTRAL
    return TypedQuestion("statement", texts, RULE.of_question(instructions, []))


def _instructions(question: AnyQuestion) -> str:
    """The text of the instructions."""
    if isinstance(question.instructions, str):
        return question.instructions
    return " ".join(part.text for part in question.instructions if isinstance(part, InputText))


def _answer(asked: DecisionRequest, answers: Sequence[TypedAnswer], tokens: int) -> dict[str, Any]:
    usage = DecisionUsage(input_tokens=tokens, total_tokens=tokens)
    return {
        "model": asked.model,
        "answers": [_answered(*pair) for pair in zip(asked.questions, answers, strict=True)],
        "usage": usage.model_dump(),
    }


def _answered(question: AnyQuestion, answer: TypedAnswer) -> dict[str, Any]:
    about = {"type": question.type, "name": question.name}
    if isinstance(question, PredicateQuestion):
        return {**about, "probability": answer.probabilities[0]}
    if isinstance(question, ChoiceQuestion):
        return {
            **about,
            "choice": question.choices[answer.best].value,
            "confidence": answer.confidence,
            "probabilities": [
                {"value": choice.value, "probability": probability}
                for choice, probability in zip(question.choices, answer.probabilities, strict=True)
            ],
        }
    return {
        **about,
        "score": answer.score,
        "confidence": answer.confidence,
        "probabilities": [
            {"label": level.label, "value": place, "probability": probability}
            for place, (level, probability) in enumerate(
                zip(question.levels, answer.probabilities, strict=True)
            )
        ],
    }
