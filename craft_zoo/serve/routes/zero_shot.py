"""Hugging Face's task API, so that clients which exist can ask."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Annotated

import numpy as np
from fastapi import Header, Request, Response
from pydantic import TypeAdapter

from craft_zoo.blackbox import Prompts
from craft_zoo.data.images import BrokenImageError
from craft_zoo.serve.answers import log_softmax, told
from craft_zoo.serve.bodies import parse, read_body
from craft_zoo.serve.holdings import Encoded
from craft_zoo.serve.prompts import check_names, check_template
from craft_zoo.serve.refusal import Refusal, bad
from craft_zoo.serve.routes.common import account_of, errors, guarded, service_of
from craft_zoo.serve.schemas import LabelScore, TaskRequest, json_body
from craft_zoo.serve.service import Prepared, Service
from craft_zoo.serve.state import Bill
from craft_zoo.serve.uploads import UploadedImage
from craft_zoo.wire import BILLED_HEADER, IDEMPOTENCY_HEADER, ErrorCode, paths

router = guarded("Hugging Face")

_ANSWER = TypeAdapter(list[LabelScore])

Key = Annotated[
    str | None,
    Header(
        alias=IDEMPOTENCY_HEADER,
        max_length=200,
        description="name of the question, see /v1; without it every request is billed",
    ),
]


@router.post(
    paths.ZERO_SHOT,
    response_model=list[LabelScore],
    responses=errors(400, 402, 409, 413, 415, 422, schema="TaskErrorAnswer"),
    openapi_extra={"requestBody": {"required": True, "content": json_body(TaskRequest)}},
)
async def classify(request: Request, key: Key = None) -> Response:
    """Probabilities of labels for an image."""
    account, service = account_of(request), service_of(request)
    limits = service.settings.limits
    with service.gate.enter(account.name) as load:
        body = await read_body(request, load, limits, most=limits.json_bytes)
        question = hashlib.sha256(f"zero-shot {await service.digest(body)}".encode()).digest()

        async def prepare() -> Prepared:
            task = await service.read(parse, TaskRequest, body)
            parameters = task.parameters
            check_names(parameters.candidate_labels, "", limits)
            check_template(parameters.hypothesis_template, limits)
            image = await service.read(_image, task.inputs, limits.pixels)

            async def answer() -> bytes:
                scores = await _scores(
                    service,
                    account.name,
                    image,
                    parameters.candidate_labels,
                    parameters.hypothesis_template,
                )
                return _written(parameters.candidate_labels, scores)

            return Prepared(Bill(1, len(parameters.candidate_labels)), answer)

        recorded = await service.answer_once(
            account, key or f"unnamed {secrets.token_hex(16)}", question, prepare
        )
    request.state.predictions = recorded.bill.predictions
    headers = {BILLED_HEADER: str(recorded.bill.predictions)}
    return Response(recorded.body, media_type="application/json", headers=headers)


def _image(text: str, pixels: int) -> UploadedImage:
    try:
        content = base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except ValueError:
        raise bad("inputs is no image in base 64: send the file's bytes, no URL") from None
    image = UploadedImage(content, "in inputs", pixels)
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
    prompts: Prompts
    if in_words:
        _, opened = await service.open(account, tuple(labels))
        prompts = [template]
    else:  # the words before the class name, as a context
        _, opened = await service.open(account, tuple(labels), template)
        prompts = opened.box.initial_context[None]
    encoded = await service.compute(
        account, "images", lambda: Encoded(service.vlm.images([image], keep=False))
    )
    logits = await service.ask(account, opened, encoded, prompts)
    return np.exp(log_softmax(told(logits, service.settings.answers, service.settings.top_k)))[0, 0]


def _written(labels: list[str], scores: np.ndarray) -> bytes:
    order = np.argsort(-scores, kind="stable")
    return _ANSWER.dump_json(
        [LabelScore(label=labels[place], score=float(scores[place])) for place in order]
    )
