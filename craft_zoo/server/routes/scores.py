"""Route that scores prompts on images. An idempotency key is billed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from fastapi import Header, Query, Request, Response

from craft_zoo.blackbox import ImageSet, Prompts, Question
from craft_zoo.protocol import (
    BILLED_HEADER,
    DIGEST_HEADER,
    IDEMPOTENCY_HEADER,
    ErrorCode,
    encode_array,
    paths,
)
from craft_zoo.server.admission import Reservation
from craft_zoo.server.billing import Bill
from craft_zoo.server.bodies import kind_of, read_body
from craft_zoo.server.errors import Refusal
from craft_zoo.server.prompts import read_contexts, read_templates
from craft_zoo.server.responses import scores_to_return
from craft_zoo.server.routes.common import (
    BINARY,
    BinaryResponse,
    Id,
    account_of,
    enter,
    errors,
    guarded,
    service_of,
    takes,
)
from craft_zoo.server.schemas import BINARY_BODY, Templates, json_body
from craft_zoo.server.service import Prepared, Service

router = guarded("scores")

_JSON = "application/json"
_ARRAYS = frozenset({BINARY, "application/x-npy", ""})

Key = Annotated[
    str,
    Header(
        alias=IDEMPOTENCY_HEADER,
        min_length=1,
        max_length=200,
        pattern="^[!-~]+$",
        description="idempotency key: requests with the same key are billed once",
    ),
]


@router.post(
    paths.SCORES,
    response_class=BinaryResponse,
    responses={
        **errors(400, 402, 404, 409, 413, 415, 422),
        200: {
            "content": BINARY_BODY,
            "description": "(P, N, C) float32, .npy",
            "headers": {
                BILLED_HEADER: {
                    "description": "predictions, P x N",
                    "schema": {"type": "integer"},
                }
            },
        },
    },
    openapi_extra=takes(
        {**BINARY_BODY, **json_body(Templates)},
        description="contexts (P, n_ctx, dim) or (P, C, n_ctx, dim) float32 as .npy; or templates",
    ),
)
async def score(
    id: Id,
    images: Annotated[str, Query(description="id of an image set", max_length=100)],
    key: Key,
    request: Request,
) -> Response:
    """Score prompts on the images of a set."""
    account, service = account_of(request), service_of(request)
    limits, kind = service.settings.limits, kind_of(request)
    if kind != _JSON and kind not in _ARRAYS:
        raise Refusal(
            ErrorCode.UNSUPPORTED,
            f"bodies of {kind[:40]!r} are not read: send {BINARY} or {_JSON}",
        )
    in_words = kind == _JSON
    load = enter(request)
    most = limits.json_bytes if in_words else limits.body_bytes
    body = await read_body(request, load, limits, most=most)
    question = service.question(id, images, str(in_words), await service.digest(body))

    async def prepare() -> Prepared:
        box = service.classifiers.get(account.name, id).box
        encoded = _encoded(service, account.name, images)
        read: Callable[..., Prompts] = read_templates if in_words else read_contexts
        prompts = await service.read(read, body, box, limits, load, size=len(body))
        return prepared(service, account.name, Question(box, prompts, encoded), load)

    before = load.bytes
    recorded = await service.answer_once(account, key, question, prepare)
    answer = recorded.body or b""
    if load.bytes == before:  # a stored answer: its bytes were not reserved yet
        load.add(len(answer))
    request.state.predictions = recorded.bill.predictions
    headers = {
        BILLED_HEADER: str(recorded.bill.predictions),
        IDEMPOTENCY_HEADER: key,
        DIGEST_HEADER: await service.digest(answer),
    }
    return BinaryResponse(answer, headers=headers)


def prepared(service: Service, account: str, question: Question, load: Reservation) -> Prepared:
    """Compute the cost of a question and prepare its answer.

    Raises:
        Refusal: the answer would be too large.
    """
    n_images = len(question.images)
    bill = Bill(len(question.prompts) * n_images, question.texts * n_images)
    size = 4 * bill.scores
    if size > service.settings.limits.answer_bytes:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"the answer would have {size:,} bytes: ask with fewer prompts, images or classes at "
            f"a time",
        )
    load.add(2 * size)  # the scores, and the encoded answer

    async def answer() -> bytes:
        logits = await service.ask(account, question)
        return await service.read(_written, logits, service, size=size)

    return Prepared(bill, answer)


def _encoded(service: Service, account: str, id: str) -> ImageSet:
    held = service.image_sets.get(account, id)
    if held.encoded is None:
        raise Refusal(
            ErrorCode.UNKNOWN_IMAGE_SET,
            f"{len(held.missing):,} images of the set are missing: upload them with PUT "
            f"/v1/image-sets/{id}/images",
        )
    return held.encoded


def _written(logits: np.ndarray, service: Service) -> bytes:
    return encode_array(scores_to_return(logits, service.settings.answers, service.settings.top_k))
