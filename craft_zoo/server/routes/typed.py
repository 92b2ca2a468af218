"""Answers typed questions about an image for the routes of several protocols."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Response

from craft_zoo.protocol import ErrorCode
from craft_zoo.protocol.tokens import TokenRule
from craft_zoo.server.admission import Reservation
from craft_zoo.server.billing import Bill
from craft_zoo.server.call import Call
from craft_zoo.server.errors import Refusal, bad
from craft_zoo.server.ingest import check_images, image_of
from craft_zoo.server.returned_scores import log_probabilities, scores_to_return
from craft_zoo.server.service import Prepared, Service
from craft_zoo.server.settings import ServeSettings
from craft_zoo.server.typed_questions import (
    TypedAnswer,
    TypedQuestion,
    answers_to,
    check_questions,
)
from craft_zoo.server.uploads import UploadedImage

RULE = TokenRule()  # by which tokens are counted
_TEXT_BYTES = 2**11  # of a text and its features
_ENTRY_BYTES = 2**7  # of an option in an answer, without its value


@dataclass(frozen=True)
class TypedRequest:
    """A request, independent of its protocol.

    Attributes:
        model: the model that the client names.
        images: the images of the request, as data URLs or base64, each with the field it is in.
        questions: the questions, at least one.
        written: makes the body of the answer from the answers to the questions and the number of
            tokens.
    """

    model: str
    images: Sequence[tuple[str, str]]
    questions: Sequence[TypedQuestion]
    written: Callable[[Sequence[TypedAnswer], int], dict[str, Any]]


async def answer_typed(
    call: Call, key: str | None, protocol: str, reader: Callable[[bytes, Reservation], TypedRequest]
) -> Response:
    """Answer the questions of a request, which are billed one prediction each.

    ``reader`` parses the body, and raises a refusal if it is malformed.
    """
    account, service, settings = call.account.name, call.service, call.service.settings
    body = await call.read_body()

    def read() -> tuple[TypedRequest, UploadedImage, tuple[str, ...]]:
        asked = reader(body, call.reservation)
        check_model(service, asked.model)
        if "texts" not in service.accepts:
            raise bad("the model takes contexts only, no words: use the routes of craft-zoo", 400)
        check_questions(asked.questions, call.limits, settings.top_k)
        call.reservation.add(len(body))  # the decoded image file
        if len(asked.images) != 1:
            count = "no image" if not asked.images else f"{len(asked.images)} images"
            raise bad(f"the request has {count}, and questions are about one: send one image", 400)
        text, field = asked.images[0]
        image = image_of(text, f"in {field}", call.limits.pixels, field)
        texts = dict.fromkeys(text for each in asked.questions for text in each.texts)
        return asked, image, tuple(texts)

    async def prepare() -> Prepared:
        asked, image, texts = await service.read(read, size=len(body))
        await check_images(call, [image])
        n_options = sum(len(each.texts) for each in asked.questions)
        size = len(body) + _ENTRY_BYTES * n_options
        # For the texts' features, the values, and the encoded answer.
        call.reservation.add(_TEXT_BYTES * len(texts) + 2 * size)
        tokens = sum(each.tokens for each in asked.questions)
        tokens += RULE.request + RULE.of_size(*image.dimensions)

        async def respond() -> bytes:
            opened = await service.open_texts(account, texts)
            keep = service.remembers and service.may_cache(account, 1)
            logits = await service.score_image(account, image, opened, "{}", keep=keep)
            if keep and image.opened:
                service.cached[account] += 1
            by_text = dict(zip(texts, logits.tolist(), strict=True))
            return await service.read(_written, asked, by_text, tokens, settings, size=size)

        return Prepared(Bill(len(asked.questions), n_options), respond)

    return await call.answer(key, (protocol, str(settings.decimals)), body, prepare)


def check_model(service: Service, model: str) -> None:
    """Check that a client means the served model.

    Raises:
        Refusal: it names another one.
    """
    if model != service.name:
        raise Refusal(
            ErrorCode.UNKNOWN_MODEL,
            f"the model {model[:100]!r} is not served here: ask for {service.name!r}",
            param="model",
        )


def _written(
    asked: TypedRequest, logits: dict[str, float], tokens: int, settings: ServeSettings
) -> bytes:
    """The body of the answer."""

    def probabilities(questions: Sequence[TypedQuestion]) -> np.ndarray:
        rows = np.array([[logits[text] for text in each.texts] for each in questions], np.float32)
        scores = scores_to_return(rows, settings.answers, settings.top_k)
        return np.exp(log_probabilities(scores).astype(np.float64))

    answers = answers_to(asked.questions, probabilities, settings.decimals)
    return json.dumps(asked.written(answers, tokens), ensure_ascii=False).encode()
