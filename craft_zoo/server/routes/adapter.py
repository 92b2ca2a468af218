"""Routes of an adapter: its description, and the classification of images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import Query, Response

from craft_zoo.deployed import DeployedAdapter
from craft_zoo.protocol import ErrorCode, paths
from craft_zoo.server.billing import Bill
from craft_zoo.server.bodies import parse
from craft_zoo.server.call import BINARY, JSON, Call, Caller
from craft_zoo.server.errors import Refusal, bad
from craft_zoo.server.ingest import check_images, image_of
from craft_zoo.server.limits import Limits
from craft_zoo.server.routes.common import OptionalKey, errors, guarded, takes
from craft_zoo.server.schemas import (
    AdapterAnswer,
    Classified,
    ClassifyAnswer,
    ClassifyRequest,
    ClassifySeveralAnswer,
    json_body,
)
from craft_zoo.server.scoring import CLASSIFIED, classify
from craft_zoo.server.service import Prepared, Service
from craft_zoo.server.uploads import UploadedImage

router = guarded("adapter")

_ENTRY_BYTES = 32  # of a class in an answer, without its name

TopK = Annotated[
    int | None, Query(ge=1, description="number of likeliest classes to return; default: all")
]


@router.get(paths.ADAPTER, responses=errors())
async def read_adapter(call: Caller) -> AdapterAnswer:
    """Describe the adapter."""
    adapter = _adapter_of(call.service)
    return AdapterAnswer(
        model=call.service.name,
        classes=list(adapter.classnames),
        method=adapter.parts,
        created=adapter.created,
    )


@router.post(
    paths.CLASSIFY,
    response_model=ClassifyAnswer | ClassifySeveralAnswer,
    responses=errors(400, 402, 409, 413, 415, 422),
    openapi_extra=takes(
        {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            **json_body(ClassifyRequest),
        },
        description="an image file, JPEG, PNG or WebP; or images in JSON",
    ),
)
async def classify_images(call: Caller, top_k: TopK = None, key: OptionalKey = None) -> Response:
    """Classify an image file, or the images of a JSON body, which are billed one prediction each.

    Probabilities are in descending order.
    """
    service, limits = call.service, call.limits
    in_json = call.kind == JSON
    if not (in_json or call.kind == BINARY or call.kind.startswith("image/")):
        raise Refusal(
            ErrorCode.UNSUPPORTED,
            f"bodies of {call.kind[:40]!r} are not read: send an image file as image/jpeg, "
            f"image/png or image/webp, or {JSON}",
        )
    body = await call.read_body(limits.json_bytes if in_json else limits.body_bytes)
    adapter = _adapter_of(service)
    # The settings of the server may limit the number of classes in an answer.
    shown = min(top_k or len(adapter.classnames), service.settings.top_k or len(adapter.classnames))

    async def prepare() -> Prepared:
        images, is_one = await service.read(_read, call, body, in_json, size=len(body))
        await check_images(call, images)
        size = _answer_bytes(adapter, len(images), shown, limits)
        call.reservation.add(2 * size)  # the values, and the encoded answer

        async def answer() -> bytes:
            probabilities = await service.score(
                call.account.name,
                partial(classify, service.vlm, adapter),
                images,
                adapter,
                len(images),
                kind="classes",
                room=CLASSIFIED,
            )
            writing = partial(_written, service.name, adapter, probabilities, shown, is_one)
            return await service.read(writing, size=size)

        return Prepared(Bill(len(images), len(images) * len(adapter.classnames)), answer)

    about = "classify", adapter.digest, str(shown), str(in_json)
    return await call.answer(key, about, body, prepare)


def _adapter_of(service: Service) -> DeployedAdapter:
    assert service.adapter is not None  # without one, the app does not have these routes
    return service.adapter


def _read(call: Call, body: bytes, in_json: bool) -> tuple[list[UploadedImage], bool]:
    """The images of a body, and whether it is a single one.

    Raises:
        Refusal: the body is malformed, or has too many images.
    """
    pixels, most = call.limits.pixels, call.limits.request_images
    if not in_json:
        return [UploadedImage(body, "in the body", pixels)], True
    asked = parse(ClassifyRequest, body, call.reservation, values=most)
    if (asked.image is None) == (asked.images is None):
        raise bad('the body must have either "image" or "images": send one of them')
    call.reservation.add(len(body))  # the decoded files
    if asked.images is None:
        return [image_of(asked.image or "", "in the body", pixels)], True
    if len(asked.images) > most:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"{len(asked.images):,} images are too many for a request: send at most {most:,}",
        )
    return [image_of(text, str(place), pixels) for place, text in enumerate(asked.images)], False


def _answer_bytes(adapter: DeployedAdapter, images: int, shown: int, limits: Limits) -> int:
    """Estimate of an answer's size.

    Raises:
        Refusal: the answer would be too large.
    """
    names = [len(name.encode()) for name in adapter.classnames]
    size = images * (shown * _ENTRY_BYTES + min(sum(names), shown * max(names)))
    if size > limits.answer_bytes:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"the answer would have {size:,} bytes: send fewer images at a time, or ask for the "
            f"likeliest classes alone with top_k",
        )
    return size


def _written(
    model: str, adapter: DeployedAdapter, probabilities: np.ndarray, shown: int, is_one: bool
) -> bytes:
    """The body of an answer with the ``shown`` likeliest classes of each image."""
    rows = [_classified(adapter.classnames, row, shown) for row in probabilities]
    if is_one:
        return ClassifyAnswer(model=model, **dict(rows[0])).model_dump_json().encode()
    return ClassifySeveralAnswer(model=model, images=rows).model_dump_json().encode()


def _classified(classnames: Sequence[str], row: np.ndarray, shown: int) -> Classified:
    order = np.argsort(-row, kind="stable")[:shown]
    probabilities = {classnames[place]: float(row[place]) for place in order}
    first = classnames[order[0]]
    label = first if np.ptp(row) else None
    return Classified(label=label, probability=probabilities[first], probabilities=probabilities)
