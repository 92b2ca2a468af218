"""Routes of classifiers: the model opened on class names."""

from __future__ import annotations

from craft_zoo.protocol import encode_array, paths
from craft_zoo.server.call import Caller
from craft_zoo.server.prompts import check_names
from craft_zoo.server.routes.common import BinaryResponse, Id, errors, guarded, takes
from craft_zoo.server.schemas import BINARY_BODY, ClassifierAnswer, Opening, json_body

router = guarded("classifiers")


@router.post(
    paths.CLASSIFIERS,
    responses=errors(400, 413, 415, 422),
    openapi_extra=takes(json_body(Opening)),
)
async def open_classifier(call: Caller) -> ClassifierAnswer:
    """Open the model on class names."""
    service, limits = call.service, call.limits
    opening = await call.parse(Opening, await call.read_body(), values=limits.classes)
    check_names(opening.classnames, opening.init, limits, service.settings.top_k)
    id, opened = await service.open(call.account.name, tuple(opening.classnames), opening.init)
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
async def read_initial_context(id: Id, call: Caller) -> BinaryResponse:
    """Read the initial context: the embeddings of the words before the class name."""
    opened = call.service.classifiers.get(call.account.name, id)
    return BinaryResponse(encode_array(opened.box.initial_context))
