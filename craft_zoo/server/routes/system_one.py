"""The System One protocol: named, typed questions about one image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import Response

from craft_zoo.protocol import paths
from craft_zoo.server.admission import Reservation
from craft_zoo.server.bodies import parse
from craft_zoo.server.call import Caller
from craft_zoo.server.errors import bad
from craft_zoo.server.routes.common import OptionalKey, errors, guarded, takes
from craft_zoo.server.routes.typed import RULE, TypedRequest, answer_typed
from craft_zoo.server.schemas import json_body
from craft_zoo.server.system_one_schemas import (
    OPTIONS,
    QUESTIONS,
    AnyQuestion,
    ChoiceQuestion,
    Content,
    NoulQuestion,
    SystemOneAnswer,
    SystemOneRequest,
)
from craft_zoo.server.typed_questions import (
    NEUTRAL,
    TypedAnswer,
    TypedQuestion,
    option_text,
    statement_text,
)

router = guarded("System One")

_OPTIONS = QUESTIONS * OPTIONS


@router.post(
    paths.SYSTEM_ONE,
    response_model=SystemOneAnswer,
    responses=errors(400, 402, 404, 409, 413, 415, schema="SystemOneErrorAnswer"),
    openapi_extra=takes(json_body(SystemOneRequest)),
)
async def decide(call: Caller, key: OptionalKey = None) -> Response:
    """Answer questions about an image by probabilities; instructions and state are not read."""
    return await answer_typed(call, key, "systemone", _read)


def _read(body: bytes, reservation: Reservation) -> TypedRequest:
    asked = parse(
        SystemOneRequest, body, reservation, values=_OPTIONS, keys=_OPTIONS + 4 * QUESTIONS + 100
    )
    assets = [(asset.data_base64, f"assets.{name}") for name, asset in asked.assets.items()]
    listed = [
        (each if isinstance(each, str) else each.data_base64, f"images.{place}")
        for place, each in enumerate(asked.images)
    ]
    return TypedRequest(
        asked.model,
        assets + listed,
        [_question(name, question) for name, question in asked.questions.items()],
        partial(_answer, asked),
    )


def _question(name: str, question: AnyQuestion) -> TypedQuestion:
    criteria, instructions = question.criteria or {}, _text(question.instructions)
    if isinstance(criteria, list):
        levels = list(map(_text, criteria))
        texts = tuple(option_text("", level) for level in levels)
        return TypedQuestion("score", texts, RULE.of_question(instructions, levels))
    described = {key: _text(text) for key, text in criteria.items()}
    tokens = RULE.of_question(instructions, [key + text for key, text in described.items()])
    if isinstance(question, ChoiceQuestion):
        texts = tuple(option_text(key, text) for key, text in described.items())
        return TypedQuestion("choice", texts, tokens)
    statement = instructions.strip()
    if not (statement or described.get("true")):
        raise bad(f"question {name!r} states nothing: say in its instructions what it asks", 400)
    shown = described.get("true") or statement_text(statement)
    return TypedQuestion("statement", (shown, described.get("false") or NEUTRAL), tokens)


def _text(content: Content | None) -> str:
    """Content as text; "" for None."""
    if content is None or isinstance(content, str):
        return content or ""
    return json.dumps(content, ensure_ascii=False)


def _answer(asked: SystemOneRequest, answers: Sequence[TypedAnswer], tokens: int) -> dict[str, Any]:
    pairs = zip(asked.questions.items(), answers, strict=True)
    return {
        "model": asked.model,
        "answers": {name: _answered(question, answer) for (name, question), answer in pairs},
        "usage": {"input_tokens": tokens, "output_tokens": 0},
    }


def _answered(question: AnyQuestion, answer: TypedAnswer) -> dict[str, Any]:
    if isinstance(question, NoulQuestion):
        return {"type": "noul", "noul": answer.probabilities[0]}
    if isinstance(question, ChoiceQuestion):
        options = list(question.criteria)
        return {
            "type": "choice",
            "choice": options[answer.best],
            "confidence": answer.confidence,
            "probabilities": dict(zip(options, answer.probabilities, strict=True)),
        }
    levels = [str(place) for place in range(len(question.criteria))]
    return {
        "type": "score",
        "score": answer.score,
        "legend": dict(zip(levels, question.criteria, strict=True)),
        "confidence": answer.confidence,
        "probabilities": dict(zip(levels, answer.probabilities, strict=True)),
    }
