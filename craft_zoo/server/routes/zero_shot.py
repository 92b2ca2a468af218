"""Hugging Face's zero-shot image classification API, for existing clients."""

from __future__ import annotations

import json

import numpy as np
from fastapi import Response

from craft_zoo.blackbox import DEFAULT_INIT
from craft_zoo.protocol import paths
from craft_zoo.server.billing import Bill
from craft_zoo.server.bodies import parse
from craft_zoo.server.call import Caller
from craft_zoo.server.ingest import check_images, image_of
from craft_zoo.server.prompts import check_names, check_template
from craft_zoo.server.returned_scores import log_probabilities, scores_to_return
from craft_zoo.server.routes.common import OptionalKey, errors, guarded, takes
from craft_zoo.server.schemas import LabelScore, TaskRequest, json_body
from craft_zoo.server.service import Prepared, Service
from craft_zoo.server.uploads import UploadedImage

router = guarded("Hugging Face")


@router.post(
    paths.ZERO_SHOT,
    response_model=list[LabelScore],
    responses=errors(400, 402, 409, 413, 415, 422, schema="TaskErrorAnswer"),
    openapi_extra=takes(json_body(TaskRequest)),
)
async def classify(call: Caller, key: OptionalKey = None) -> Response:
    """Probabilities of labels for an image, in descending order."""
    service, limits = call.service, call.limits
    body = await call.read_body()

    def read() -> tuple[list[str], str, UploadedImage]:
        task = parse(TaskRequest, body, call.reservation, values=limits.classes)
        labels, template = task.parameters.candidate_labels, task.parameters.hypothesis_template
        check_names(labels, "", limits, service.settings.top_k)
        check_template(template, limits)
        call.reservation.add(len(body))  # the decoded image file
        return labels, template, image_of(task.inputs, "in inputs", limits.pixels)

    async def prepare() -> Prepared:
        labels, template, image = await service.read(read, size=len(body))
        await check_images(call, [image])

        async def answer() -> bytes:
            scores = await _scores(service, call.account.name, image, labels, template)
            return _written(labels, scores)

        return Prepared(Bill(1, len(labels)), answer)

    return await call.answer(key, ("zero-shot",), body, prepare)


async def _scores(
    service: Service, account: str, image: UploadedImage, labels: list[str], template: str
) -> np.ndarray:
    """(C,) probabilities."""
    in_words = "texts" in service.accepts
    init = DEFAULT_INIT if in_words else template
    _, opened = await service.open(account, tuple(labels), init, service.tasks)
    # A model without templates is asked with the words before the class name, as a context.
    prompt = template if in_words else opened.box.initial_context
    logits = await service.score_image(account, image, opened, prompt, template)
    return np.exp(
        log_probabilities(
            scores_to_return(logits, service.settings.answers, service.settings.top_k)
        )
    )


def _written(labels: list[str], scores: np.ndarray) -> bytes:
    order = np.argsort(-scores, kind="stable")
    answer = [{"label": labels[place], "score": float(scores[place])} for place in order]
    return json.dumps(answer, ensure_ascii=False).encode()
