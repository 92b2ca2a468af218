"""Embeddings of texts and images in OpenAI's protocol, which give the model's features away."""

from __future__ import annotations

import base64
import json
from collections.abc import Generator, Sequence
from functools import partial

import numpy as np
from fastapi import Response

from craft_zoo.blackbox import ServingVLM
from craft_zoo.protocol import ErrorCode, paths
from craft_zoo.server.billing import Bill
from craft_zoo.server.bodies import parse
from craft_zoo.server.call import Caller
from craft_zoo.server.errors import Refusal, bad
from craft_zoo.server.ingest import check_images, image_of
from craft_zoo.server.limits import Limits
from craft_zoo.server.openai_schemas import INPUTS, EmbeddingAnswer, EmbeddingRequest
from craft_zoo.server.routes.common import OptionalKey, errors, guarded, takes
from craft_zoo.server.routes.typed import RULE, check_model
from craft_zoo.server.schemas import json_body
from craft_zoo.server.service import Prepared
from craft_zoo.server.uploads import UploadedImage, pieces

router = guarded("OpenAI")

_IMAGE = "data:image/"
_TOGETHER = 64  # maximum number of inputs between two turns
_TOGETHER_PIXELS = 2**25
_INPUT_BYTES = 2**15  # of a feature in an answer


@router.post(
    paths.EMBEDDINGS,
    response_model=EmbeddingAnswer,
    responses=errors(400, 404, 413, 415, schema="OpenAIErrorAnswer"),
    openapi_extra=takes(json_body(EmbeddingRequest)),
)
async def embed(call: Caller, key: OptionalKey = None) -> Response:
    """Features of texts and of images (data URLs), normalised, billed one prediction each."""
    service = call.service
    body = await call.read_body()

    def read() -> tuple[EmbeddingRequest, list[str | UploadedImage]]:
        asked = parse(EmbeddingRequest, body, call.reservation, values=INPUTS)
        check_model(service, asked.model)
        call.reservation.add(len(body))  # the decoded image files
        return asked, _inputs(asked, call.limits)

    async def prepare() -> Prepared:
        asked, inputs = await service.read(read, size=len(body))
        images = [each for each in inputs if isinstance(each, UploadedImage)]
        await check_images(call, images)
        size = _INPUT_BYTES * len(inputs)
        call.reservation.add(size)
        tokens = RULE.request + sum(
            RULE.of_text(each) if isinstance(each, str) else RULE.of_size(*each.dimensions)
            for each in inputs
        )

        async def respond() -> bytes:
            features = await service.score(
                call.account.name,
                partial(_features, service.vlm),
                inputs,
                "embeddings",
                len(inputs),
                kind="features",
            )
            return await service.read(_written, asked, features, tokens, size=size)

        return Prepared(Bill(len(inputs), len(inputs)), respond)

    return await call.answer(key, ("embeddings",), body, prepare)


def _inputs(asked: EmbeddingRequest, limits: Limits) -> list[str | UploadedImage]:
    """The texts and images of a request.

    Raises:
        Refusal: one is malformed or too long, or other dimensions are asked for.
    """
    if asked.dimensions is not None:
        raise bad("the features have the model's dimensions: leave it out", 400, "dimensions")
    inputs: list[str | UploadedImage] = []
    given = [asked.input] if isinstance(asked.input, str) else asked.input
    for place, each in enumerate(given):
        if asked.modality == "image" or (asked.modality is None and each.startswith(_IMAGE)):
            field = f"input.{place}"
            inputs.append(image_of(each, f"in {field}", limits.pixels, field))
            continue
        if not each.strip():
            raise bad(f"input {place} is empty: send a text", 400, "input")
        if len(each) > limits.template_length:
            raise Refusal(
                ErrorCode.TOO_LARGE,
                f"input {place} has more than {limits.template_length} characters: shorten it",
                param="input",
            )
        inputs.append(each)
    return inputs


def _features(
    vlm: ServingVLM, requests: Sequence[Sequence[str | UploadedImage]]
) -> Generator[None, None, Sequence[np.ndarray]]:
    """Features (n, dim) of the texts and images of several requests, computed in pieces."""
    inputs = [each for request in requests for each in request]
    texts = [each for each in inputs if isinstance(each, str)]
    images = [each for each in inputs if isinstance(each, UploadedImage)]
    of_texts: list[np.ndarray] = []
    of_images: list[np.ndarray] = []
    for first in range(0, len(texts), _TOGETHER):
        of_texts += list(vlm.text_features(texts[first : first + _TOGETHER]))
        yield
    for some in pieces(images, _TOGETHER, _TOGETHER_PIXELS):
        of_images += list(vlm.features(vlm.images(some, keep=False)))
        yield
    text_rows, image_rows = iter(of_texts), iter(of_images)
    features = np.stack(
        [next(text_rows if isinstance(each, str) else image_rows) for each in inputs]
    )
    return np.split(features, np.cumsum([len(request) for request in requests])[:-1])


def _written(asked: EmbeddingRequest, features: np.ndarray, tokens: int) -> bytes:
    if asked.encoding_format == "base64":
        rows: list[object] = [
            base64.b64encode(row.astype("<f4").tobytes()).decode() for row in features
        ]
    else:
        rows = features.astype(float).tolist()
    data = [
        {"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps(
        {"object": "list", "model": asked.model, "data": data, "usage": usage}
    ).encode()
