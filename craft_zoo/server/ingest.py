"""Decoding and encoding of uploaded images."""

from __future__ import annotations

import base64
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from starlette.requests import ClientDisconnect

from craft_zoo.blackbox import ImageSet
from craft_zoo.data.images import BrokenImageError
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import ErrorCode, decode_files
from craft_zoo.server.caches import AccountImages
from craft_zoo.server.errors import Refusal, bad
from craft_zoo.server.service import Service
from craft_zoo.server.uploads import ForgottenImageError, UploadedImage, pieces

_LOG = logging.getLogger("craft_zoo.server")
# Maximum (images, pixels) of one account's turn, which has at least one image.
_ENCODED, _ENCODED_PIXELS = 16, 2**25
_DECODED, _DECODED_PIXELS = 64, 2**23


async def add_images(
    service: Service,
    account: str,
    held: AccountImages,
    body: bytes,
    is_gone: Callable[[], Awaitable[bool]],
) -> None:
    """Encode the images of an upload request. The last missing image completes the set.

    Args:
        service: the service.
        account: name of the account.
        held: the image set.
        body: image files by their index in the set, see :func:`craft_zoo.protocol.decode_files`.
        is_gone: whether the client has disconnected.

    Raises:
        Refusal: a file is no image or not the announced one; no image of the request is added.
        ClientDisconnect: the client has disconnected.
    """
    images = await service.read(_announced, held.digests, body, service.settings.limits.pixels)
    # Skip duplicates and images that were uploaded before.
    new = list({each.sha256: each for each in images if not held.has(each.sha256)}.values())
    _check_room(service, account, new)
    await check_images(service, account, new, is_gone)
    keeps = held.keeps_files or not service.model.remembers
    if keeps:
        for image in new:
            image.keep()
    else:  # encode pieces into the feature cache, from which _complete assembles the set
        for some in pieces(new, _ENCODED, _ENCODED_PIXELS):
            await _stop_if(is_gone)
            await service.compute(account, "images", partial(service.vlm.images, some))
            service.cached[account] += len(some)
    held.take(new)
    if held.is_whole and held.encoded is None:
        await _complete(service, account, held)
    if not held.keeps_files and service.model.remembers:
        held.forget_files(new)
    service.image_sets.make_room(account)


async def _complete(service: Service, account: str, held: AccountImages) -> None:
    sources = [held.images[digest] for digest in held.digests]

    def encode() -> ImageSet:
        encoded = service.encoded.get(held.digests)
        if encoded is None:
            encoded = service.vlm.images(sources, service.interlude, keep=held.is_cached)
        return service.encoded.setdefault(held.digests, encoded)

    try:
        held.encoded = await service.compute(account, "images", encode)
    except ForgottenImageError:
        _LOG.warning(
            "the model's cache has dropped images: a set's files are kept until it is complete"
        )
        held.lose()
    else:
        if service.model.remembers:
            held.forget_images()


async def check_images(
    service: Service,
    account: str,
    images: Sequence[UploadedImage],
    is_gone: Callable[[], Awaitable[bool]],
) -> None:
    """Decode images in pieces, between which other accounts' images are decoded.

    Args:
        service: the service.
        account: name of the account.
        images: the images of a request.
        is_gone: whether the client has disconnected.

    Raises:
        Refusal: an image is broken, or they have too many pixels.
        ClientDisconnect: the client has disconnected.
    """
    most = service.settings.limits.request_pixels
    try:
        for some in pieces(images, _DECODED, _DECODED_PIXELS):
            async with service.admission.turn(account):
                await service.decode(_measure, some)
        pixels = sum(image.pixels for image in images)
        if pixels > most:
            raise Refusal(
                ErrorCode.TOO_LARGE,
                f"the request's images have {pixels:,} pixels: send at most {most:,} at a time",
            )
        for some in pieces(images, _DECODED, _DECODED_PIXELS):
            await _stop_if(is_gone)
            async with service.admission.turn(account):
                await service.decode(_decode, some)
    except BrokenImageError as error:
        raise Refusal(ErrorCode.BAD_IMAGE, str(error)) from None


def _measure(images: Iterable[UploadedImage]) -> None:
    for image in images:
        image.measure()


def _decode(images: Iterable[UploadedImage]) -> None:
    for image in images:
        image.check()


def image_of_base64(text: str, name: str, pixels: int) -> UploadedImage:
    """The image file in a base64 text or in a data URL.

    Args:
        text: the base64 text or data URL.
        name: name of the image in error messages.
        pixels: maximum number of pixels.

    Raises:
        Refusal: it is no base64.
    """
    try:
        content = base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except ValueError:
        raise bad(f"image {name} is no image in base 64: send the file's bytes, no URL") from None
    return UploadedImage(content, name, pixels)


async def _stop_if(is_gone: Callable[[], Awaitable[bool]]) -> None:
    if await is_gone():
        raise ClientDisconnect


def _announced(digests: Sequence[str], body: bytes, pixels: int) -> list[UploadedImage]:
    """The images of a body, after checking that each has the announced digest."""
    try:
        files = decode_files(body)
    except CraftZooError as error:
        raise bad(str(error), 400) from None
    images = []
    for place, content in files.items():
        if place >= len(digests):
            raise bad(f"there is no image {place} in the set of {len(digests)}: count from 0", 400)
        image = UploadedImage(content, str(place), pixels)
        if image.sha256 != digests[place]:
            raise Refusal(
                ErrorCode.BAD_IMAGE,
                f"image {place} is not the file that was announced: its SHA-256 is {image.sha256}",
            )
        images.append(image)
    return images


def _check_room(service: Service, account: str, images: Sequence[UploadedImage]) -> None:
    kept = sum(held.kept_bytes for held in service.image_sets.all_of(account))
    most = service.settings.limits.kept_bytes
    if kept + sum(image.size for image in images) > most:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"the account's images take more than {most:,} bytes: delete sets that you do not need",
        )
