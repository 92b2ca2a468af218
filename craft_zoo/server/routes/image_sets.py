"""Routes of image sets: announce digests, then upload the missing images."""

from __future__ import annotations

from fastapi import Request, Response

from craft_zoo.protocol import ErrorCode, paths
from craft_zoo.server.admission import Reservation
from craft_zoo.server.bodies import parse, read_body
from craft_zoo.server.caches import AccountImages, content_id
from craft_zoo.server.errors import Refusal
from craft_zoo.server.ingest import add_images
from craft_zoo.server.limits import Limits
from craft_zoo.server.routes.common import (
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
async def announce(request: Request) -> ImageSetAnswer:
    """Announce a set by the SHA-256 of its image files; the answer lists the missing images."""
    account, service = account_of(request).name, service_of(request)
    limits = service.settings.limits
    load = enter(request)
    body = await read_body(request, load, limits, most=limits.json_bytes)
    id, announced = await service.read(_announced, account, body, load, limits, size=len(body))
    held = service.image_sets.find(account, id)
    if held is None:
        held = AccountImages(announced, is_cached=service.may_cache(account, len(announced)))
    service.image_sets.put(account, id, held)
    return ImageSetAnswer(id=id, missing=held.missing)


def _announced(
    account: str, body: bytes, load: Reservation, limits: Limits
) -> tuple[str, tuple[str, ...]]:
    """The id of the set that a body announces, and its digests."""
    digests = parse(Announcement, body, load, values=limits.images).images
    if len(digests) > limits.images:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"{len(digests):,} images are too many for a set: send at most {limits.images:,}",
        )
    return content_id("image set", account, *digests), tuple(digests)


@router.put(
    paths.IMAGES,
    responses=errors(400, 404, 413, 415, 422),
    openapi_extra=takes(
        BINARY_BODY,
        description="safetensors: one-dimensional uint8 tensors, each an image's file, named by "
        "its place in the set",
    ),
)
async def upload(id: Id, request: Request) -> MissingAnswer:
    """Upload images of a set. Their features are kept, the files are not."""
    account, service = account_of(request).name, service_of(request)
    limits = service.settings.limits
    held = service.image_sets.get(account, id)
    body = await read_body(request, enter(request), limits, most=limits.body_bytes)
    await add_images(service, account, held, body, request.is_disconnected)
    return MissingAnswer(missing=held.missing)


@router.delete(paths.IMAGE_SET, status_code=204, responses=errors(404))
async def forget(id: Id, request: Request) -> Response:
    """Delete a set."""
    service_of(request).image_sets.remove(account_of(request).name, id)
    return Response(status_code=204)
