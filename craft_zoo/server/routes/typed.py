"""Answers typed questions about an image for the routes of several protocols."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Request, Response

from craft_zoo.protocol import ErrorCode
from craft_zoo.protocol.tokens import TokenRule
from craft_zoo.server.admission import Reservation
from craft_zoo.server.billing import Bill
from craft_zoo.server.bodies import read_body
from craft_zoo.server.errors import Refusal, bad
from craft_zoo.server.ingest import check_images
from craft_zoo.server.one_image import image_of, score_image
from craft_zoo.server.responses import log_softmax, scores_to_return
from craft_zoo.server.routes.common import account_of, answered, enter, service_of
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
_ENTRY_BYTES = 2**7  # of an option in an answer, beside its value


@dataclass(frozen=True)
class Asked:
    """A request, independent of its protocol.

    Attributes:
        model: the model that the client names.
        images: the images of the request, as data URLs or base64, each with the field it is in.
        questions: the questions, at least one.
        tokens: number of tokens of the request without its image.
        written: makes the body of the answer from the answers to the questions and the number of
            tokens.
    """

    model: str
    images: Sequence[tuple[str, str]]
    questions: Sequence[TypedQuestion]
    tokens: int
    written: Callable[[Sequence[TypedAnswer], int], dict[str, Any]]


Reader = Callable[[bytes, Reservation], Asked]
"""Parses a body; raises a refusal if it is malformed."""


async def answer_typed(
    request: Request, key: str | None, protocol: str, reader: Reader
) -> Response:
    """Answer the questions of a request, which are billed one prediction each.

    Args:
        request: the request.
        key: its idempotency key, or None.
        protocol: name of the protocol.
        reader: parses the body.

    Raises:
        Refusal: the request was not answered; nothing was billed.
    """
    account, service = account_of(request), service_of(request)
    settings, load = service.settings, enter(request)
    limits = settings.limits
    body = await read_body(request, load, limits, most=limits.json_bytes)
    question = service.question(protocol, str(settings.decimals), await service.digest(body))

    def read() -> tuple[Asked, UploadedImage, tuple[str, ...]]:
        asked = reader(body, load)
        check_model(service, asked.model)
        if "texts" not in service.model.accepts:
            raise bad("the model takes contexts only, no words: use the routes of craft-zoo", 400)
        check_questions(asked.questions, limits, settings.top_k)
        load.add(len(body))  # the decoded image file
        image = image_of(*_only_image(asked.images), limits.pixels)
        texts = dict.fromkeys(text for each in asked.questions for text in each.texts)
        return asked, image, tuple(texts)

    async def prepare() -> Prepared:
        asked, image, texts = await service.read(read, size=len(body))
        await check_images(service, account.name, [image], request.is_disconnected)
        n_options = sum(len(each.texts) for each in asked.questions)
        size = len(body) + _ENTRY_BYTES * n_options
        load.add(_TEXT_BYTES * len(texts) + 2 * size)  # the values, and the encoded answer
        tokens = asked.tokens + RULE.of_size(*image.dimensions)

        async def respond() -> bytes:
            opened = await service.open_texts(account.name, texts)
            keep = service.model.remembers and service.may_cache(account.name, 1)
            logits = await score_image(service, account.name, image, opened, "{}", keep=keep)
            if keep and image.opened:
                service.cached[account.name] += 1
            by_text = dict(zip(texts, logits.tolist(), strict=True))
            return await service.read(_written, asked, by_text, tokens, settings, size=size)

        return Prepared(Bill(len(asked.questions), n_options), respond)

    return await answered(request, key, question, prepare, load)


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


def _only_image(images: Sequence[tuple[str, str]]) -> tuple[str, str]:
    if len(images) != 1:
        count = "no image" if not images else f"{len(images)} images"
        raise bad(f"the request has {count}, and questions are about one: send one image", 400)
    return images[0]


def _written(asked: Asked, logits: dict[str, float], tokens: int, settings: ServeSettings) -> bytes:
    """The body of the answer."""

    def probabilities(questions: Sequence[TypedQuestion]) -> np.ndarray:
        rows = np.array([[logits[text] for text in each.texts] for each in questions], np.float32)
        scores = scores_to_return(rows, settings.answers, settings.top_k)
        return np.exp(log_softmax(scores).astype(np.float64))

    answers = answers_to(asked.questions, probabilities, settings.decimals)
    return json.dumps(asked.written(answers, tokens), ensure_ascii=False).encode()
