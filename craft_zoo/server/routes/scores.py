"""Route that scores prompts on images. An idempotency key is billed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from fastapi import Query, Response

from craft_zoo.blackbox import ImageSet, Prompts, Question
from craft_zoo.protocol import BILLED_HEADER, ErrorCode, encode_array, paths
from craft_zoo.server.billing import Bill
from craft_zoo.server.call import BINARY, JSON, Call, Caller
from craft_zoo.server.errors import Refusal
from craft_zoo.server.prompts import read_contexts, read_templates
from craft_zoo.server.returned_scores import scores_to_return
from craft_zoo.server.routes.common import BinaryResponse, Id, Key, errors, guarded, takes
from craft_zoo.server.schemas import BINARY_BODY, Templates, json_body
from craft_zoo.server.service import Prepared, Service

router = guarded("scores")

_ARRAYS = frozenset({BINARY, "application/x-npy", ""})


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
    call: Caller,
) -> Response:
    """Score prompts on the images of a set."""
    account, service, limits = call.account.name, call.service, call.limits
    in_words = call.kind == JSON
    if not in_words and call.kind not in _ARRAYS:
        raise Refusal(
            ErrorCode.UNSUPPORTED,
            f"bodies of {call.kind[:40]!r} are not read: send {BINARY} or {JSON}",
        )
    body = await call.read_body(limits.json_bytes if in_words else limits.body_bytes)

    async def prepare() -> Prepared:
        box = service.classifiers.get(account, id).box
        encoded = _encoded(service, account, images)
        read: Callable[..., Prompts] = read_templates if in_words else read_contexts
        prompts = await service.read(read, body, box, limits, call.reservation, size=len(body))
        return _prepared(call, Question(box, prompts, encoded))

    return await call.answer(key, (id, images, str(in_words)), body, prepare, BINARY)


def _prepared(call: Call, question: Question) -> Prepared:
    """Compute the cost of a question and prepare its answer.

    Raises:
        Refusal: the answer would be too large.
    """
    n_images = len(question.images)
    bill = Bill(len(question.prompts) * n_images, question.texts * n_images)
    size = 4 * bill.scores
    if size > call.limits.answer_bytes:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"the answer would have {size:,} bytes: ask with fewer prompts, images or classes at "
            f"a time",
        )
    call.reservation.add(2 * size)  # the scores, and the encoded answer

    async def answer() -> bytes:
        logits = await call.service.ask(call.account.name, question)
        return await call.service.read(_written, logits, call.service, size=size)

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
