"""Hugging Face's zero-shot image classification API, for existing clients."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import numpy as np
from fastapi import Header, Request, Response
from pydantic import TypeAdapter

from craft_zoo.blackbox import DEFAULT_INIT
from craft_zoo.data.images import BrokenImageError
from craft_zoo.protocol import IDEMPOTENCY_HEADER, ErrorCode, paths
from craft_zoo.server.billing import Bill
from craft_zoo.server.bodies import parse, read_body
from craft_zoo.server.errors import Refusal
from craft_zoo.server.ingest import image_of_base64
from craft_zoo.server.one_image import score_image
from craft_zoo.server.prompts import check_names, check_template
from craft_zoo.server.responses import log_softmax, scores_to_return
from craft_zoo.server.routes.common import (
    account_of,
    answered,
    enter,
    errors,
    guarded,
    service_of,
)
from craft_zoo.server.schemas import LabelScore, TaskRequest, json_body
from craft_zoo.server.service import Prepared, Service
from craft_zoo.server.uploads import UploadedImage

router = guarded("Hugging Face")

_ANSWER = TypeAdapter(list[LabelScore])

Key = Annotated[
    str | None,
    Header(
        alias=IDEMPOTENCY_HEADER,
        max_length=200,
        description="idempotency key, see /v1; without one, every request is billed",
    ),
]


@router.post(
    paths.ZERO_SHOT,
    response_model=list[LabelScore],
    responses=errors(400, 402, 409, 413, 415, 422, schema="TaskErrorAnswer"),
    openapi_extra={"requestBody": {"required": True, "content": json_body(TaskRequest)}},
)
async def classify(request: Request, key: Key = None) -> Response:
    """Probabilities of labels for an image, in descending order."""
    account, service = account_of(request), service_of(request)
    limits, load = service.settings.limits, enter(request)
    body = await read_body(request, load, limits, most=limits.json_bytes)
    question = service.question("zero-shot", await service.digest(body))

    async def prepare() -> Prepared:
        reading = partial(parse, values=limits.classes)
        task = await service.read(reading, TaskRequest, body, load, size=len(body))
        labels, template = task.parameters.candidate_labels, task.parameters.hypothesis_template
        check_names(labels, "", limits, service.settings.top_k)
        check_template(template, limits)
        load.add(len(body))  # the decoded image file
        async with service.admission.turn(account.name):
            image = await service.decode(_image, task.inputs, limits.pixels)

        async def answer() -> bytes:
            return _written(labels, await _scores(service, account.name, image, labels, template))

        return Prepared(Bill(1, len(labels)), answer)

    return await answered(request, key, question, prepare, load)


def _image(text: str, pixels: int) -> UploadedImage:
    image = image_of_base64(text, "in inputs", pixels)
    try:
        image.check()
    except BrokenImageError as error:
        raise Refusal(ErrorCode.BAD_IMAGE, str(error)) from None
    return image


async def _scores(
    service: Service, account: str, image: UploadedImage, labels: list[str], template: str
) -> np.ndarray:
    """(C,) probabilities."""
    in_words = "texts" in service.model.accepts
    init = DEFAULT_INIT if in_words else template
    _, opened = await service.open(account, tuple(labels), init, service.tasks)
    # A model without templates is asked with the words before the class name, as a context.
    prompt = template if in_words else opened.box.initial_context

    logits = await score_image(service, account, image, opened, prompt, template)
    return np.exp(
        log_softmax(scores_to_return(logits, service.settings.answers, service.settings.top_k))
    )


def _written(labels: list[str], scores: np.ndarray) -> bytes:
    order = np.argsort(-scores, kind="stable")
    return _ANSWER.dump_json(
        [LabelScore(label=labels[place], score=float(scores[place])) for place in order]
    )
