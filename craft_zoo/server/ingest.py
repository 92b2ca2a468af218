"""Decoding and encoding of uploaded images."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Sequence
from functools import partial

from craft_zoo.blackbox import ImageSet
from craft_zoo.data.images import BrokenImageError
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import ErrorCode, decode_files
from craft_zoo.server.caches import AccountImages
from craft_zoo.server.call import Call
from craft_zoo.server.errors import Refusal, bad
from craft_zoo.server.uploads import ForgottenImageError, UploadedImage, pieces

_LOG = logging.getLogger("craft_zoo.server")
# Maximum (images, pixels) of one account's turn, which has at least one image.
_ENCODED, _ENCODED_PIXELS = 16, 2**25
_DECODED, _DECODED_PIXELS = 64, 2**23


async def add_images(call: Call, held: AccountImages, body: bytes) -> None:
    """Encode the images of an upload. The last missing image completes the set.

    ``body`` has image files by their index in the set, see :func:`craft_zoo.protocol.decode_files`.

    Raises:
        Refusal: a file is no image or not the announced one; no image of the request is added.
        ClientDisconnect: the client has disconnected.
    """
    service, account = call.service, call.account.name
    images = await service.read(_announced, call, held.digests, body)
    # Skip duplicates and images that were uploaded before.
    new = list({each.sha256: each for each in images if not held.has(each.sha256)}.values())
    _check_room(call, new)
    await check_images(call, new)
    if not held.keeps_files and service.remembers:
        # Encode pieces into the feature cache, from which _complete assembles the set.
        for some in pieces(new, _ENCODED, _ENCODED_PIXELS):
            await call.check_connected()
            await service.compute(account, "images", partial(service.vlm.images, some))
            service.cached[account] += len(some)
    held.take(new)
    if held.is_whole and held.encoded is None:
        await _complete(call, held)
    if not held.keeps_files and service.remembers:
        held.forget_files(new)
    service.image_sets.make_room(account)


async def _complete(call: Call, held: AccountImages) -> None:
    service = call.service
    sources = [held.images[digest] for digest in held.digests]

    def encode() -> ImageSet:
        encoded = service.encoded.get(held.digests)
        if encoded is None:
            encoded = service.vlm.images(sources, service.interlude, keep=held.is_cached)
        return service.encoded.setdefault(held.digests, encoded)

    try:
        held.encoded = await service.compute(call.account.name, "images", encode)
    except ForgottenImageError:
        _LOG.warning(
            "the model's cache has dropped images: a set's files are kept until it is complete"
        )
        held.mark_evicted()
    else:
        if service.remembers:
            held.forget_images()


async def check_images(call: Call, images: Sequence[UploadedImage]) -> None:
    """Decode the images of a call in pieces, between which other accounts' images are decoded.

    Raises:
        Refusal: an image is broken, or they have too many pixels.
        ClientDisconnect: the client has disconnected.
    """
    most = call.limits.request_pixels
    turn = call.service.admission.turn(call.account.name)
    try:
        for some in pieces(images, _DECODED, _DECODED_PIXELS):
            async with turn:
                await call.service.decode(_measure, some)
        pixels = sum(image.pixels for image in images)
        if pixels > most:
            raise Refusal(
                ErrorCode.TOO_LARGE,
                f"the request's images have {pixels:,} pixels: send at most {most:,} at a time",
            )
        for some in pieces(images, _DECODED, _DECODED_PIXELS):
            await call.check_connected()
            async with turn:
                await call.service.decode(_decode, some)
    except BrokenImageError as error:
        raise Refusal(ErrorCode.BAD_IMAGE, str(error)) from None


def _measure(images: Iterable[UploadedImage]) -> None:
    for image in images:
        image.measure()


def _decode(images: Iterable[UploadedImage]) -> None:
    for image in images:
        image.check()


def image_of(text: str, name: str, pixels: int, field: str | None = None) -> UploadedImage:
    """The image file in a base64 text or in a data URL.

    Args:
        name: name of the image in error messages.
        pixels: maximum number of pixels.
        field: the field of the body, in a protocol whose services fetch images by their address.

    Raises:
        Refusal: it is another URL, or no base64.
    """
    if field is not None and text[:8].lower().startswith(("http://", "https://")):
        raise bad(
            f"{field} is the address of an image, and the server fetches nothing: send the file "
            f"itself as data:image/png;base64,…",
            400,
            field,
        )
    try:
        content = base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except ValueError:
        raise bad(f"image {name} is no image in base 64: send the file's bytes, no URL") from None
    return UploadedImage(content, name, pixels)


def _announced(call: Call, digests: Sequence[str], body: bytes) -> list[UploadedImage]:
    """The images of a body, after checking that each has the announced digest."""
    call.reservation.add(len(body))  # the files, which are copied
    try:
        files = decode_files(body)
    except CraftZooError as error:
        raise bad(str(error), 400) from None
    images = []
    for place, content in files.items():
        if place >= len(digests):
            raise bad(f"there is no image {place} in the set of {len(digests)}: count from 0", 400)
        image = UploadedImage(content, str(place), call.limits.pixels)
        if image.sha256 != digests[place]:
            raise Refusal(
                ErrorCode.BAD_IMAGE,
                f"image {place} is not the file that was announced: its SHA-256 is {image.sha256}",
            )
        images.append(image)
    return images


def _check_room(call: Call, images: Sequence[UploadedImage]) -> None:
    kept = sum(held.kept_bytes for held in call.service.image_sets.all_of(call.account.name))
    most = call.limits.kept_bytes
    if kept + sum(image.size for image in images) > most:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"the account's images take more than {most:,} bytes: delete sets that you do not need",
        )
