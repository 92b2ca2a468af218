"""Routes of image sets: announce digests, then upload the missing images."""

from __future__ import annotations

from fastapi import Response

from craft_zoo.protocol import ErrorCode, paths
from craft_zoo.server.bodies import parse
from craft_zoo.server.caches import AccountImages, content_id
from craft_zoo.server.call import Call, Caller
from craft_zoo.server.errors import Refusal
from craft_zoo.server.ingest import add_images
from craft_zoo.server.routes.common import Id, errors, guarded, takes
from craft_zoo.server.schemas import (
    BINARY_BODY,
    Announcement,
    ImageSetAnswer,
    MissingAnswer,
    json_body,
)

router = guarded("images")


@router.post(
    paths.IMAGE_SETS,
    responses=errors(400, 413, 415, 422),
    openapi_extra=takes(json_body(Announcement)),
)
async def announce(call: Caller) -> ImageSetAnswer:
    """Announce a set by the SHA-256 of its image files; the answer lists the missing images."""
    account, service = call.account.name, call.service
    body = await call.read_body()
    id, announced = await service.read(_announced, call, body, size=len(body))
    held = service.image_sets.find(account, id)
    if held is None:
        held = AccountImages(announced, is_cached=service.may_cache(account, len(announced)))
    service.image_sets.put(account, id, held)
    return ImageSetAnswer(id=id, missing=held.missing)


def _announced(call: Call, body: bytes) -> tuple[str, tuple[str, ...]]:
    """The id of the set that a body announces, and its digests."""
    most = call.limits.images
    digests = parse(Announcement, body, call.reservation, values=most).images
    if len(digests) > most:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"{len(digests):,} images are too many for a set: send at most {most:,}",
        )
    return content_id("image set", call.account.name, *digests), tuple(digests)


@router.put(
    paths.IMAGES,
    responses=errors(400, 404, 413, 415, 422),
    openapi_extra=takes(
        BINARY_BODY,
        description="safetensors: one-dimensional uint8 tensors, each an image's file, named by "
        "its place in the set",
    ),
)
async def upload(id: Id, call: Caller) -> MissingAnswer:
    """Upload images of a set. Their features are kept, the files are not."""
    held = call.service.image_sets.get(call.account.name, id)
    await add_images(call, held, await call.read_body(call.limits.body_bytes))
    return MissingAnswer(missing=held.missing)


@router.delete(paths.IMAGE_SET, status_code=204, responses=errors(404))
async def forget(id: Id, call: Caller) -> Response:
    """Delete a set."""
    call.service.image_sets.remove(call.account.name, id)
    return Response(status_code=204)
