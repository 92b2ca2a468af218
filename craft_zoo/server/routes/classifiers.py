"""Routes of classifiers: the model opened on class names."""

from __future__ import annotations

from functools import partial

from fastapi import Request, Response

from craft_zoo.protocol import encode_array, paths
from craft_zoo.server.bodies import parse, read_body
from craft_zoo.server.prompts import check_names
from craft_zoo.server.routes.common import (
    BinaryResponse,
    Id,
    account_of,
    enter,
    errors,
    guarded,
    service_of,
    takes,
)
from craft_zoo.server.schemas import (
    BINARY_BODY,
    ClassifierAnswer,
    Opening,
    json_body,
)

router = guarded("classifiers")


@router.post(
    paths.CLASSIFIERS,
    responses=errors(400, 413, 415, 422),
    openapi_extra=takes(json_body(Opening)),
)
async def open_classifier(request: Request) -> ClassifierAnswer:
    """Open the model on class names."""
    account, service = account_of(request).name, service_of(request)
    limits = service.settings.limits
    load = enter(request)
    body = await read_body(request, load, limits, most=limits.json_bytes)
    opening = await service.read(
        partial(parse, values=limits.classes), Opening, body, load, size=len(body)
    )
    check_names(opening.classnames, opening.init, limits, service.settings.top_k)
    id, opened = await service.open(account, tuple(opening.classnames), opening.init)
    return ClassifierAnswer(
        id=id,
        template=opened.box.template,
        classnames=list(opened.box.classnames),
        shape=list(opened.box.initial_context.shape),
    )


@router.get(
    paths.INITIAL_CONTEXT,
    response_class=BinaryResponse,
    responses={**errors(404), 200: {"content": BINARY_BODY, "description": "(n_ctx, dim), .npy"}},
)
async def read_initial_context(id: Id, request: Request) -> Response:
    """Read the initial context: the embeddings of the words before the class name."""
    opened = service_of(request).classifiers.get(account_of(request).name, id)
    return BinaryResponse(encode_array(opened.box.initial_context))
