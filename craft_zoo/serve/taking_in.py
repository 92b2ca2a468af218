"""Images on their way into the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from craft_zoo.data.images import BrokenImageError
from craft_zoo.errors import CraftZooError
from craft_zoo.serve.holdings import AccountImages, Encoded
from craft_zoo.serve.refusal import Refusal, bad
from craft_zoo.serve.service import Service
from craft_zoo.serve.uploads import ForgottenImageError, UploadedImage
from craft_zoo.wire import ErrorCode, decode_files

_LOG = logging.getLogger("craft_zoo.serve")
_CHUNK = 16  # images that are encoded before it is another account's turn


async def take_in(service: Service, account: str, held: AccountImages, body: bytes) -> None:
    """Encode the images that a request brings; with the last one, the set is complete.

    Args:
        service: whose model encodes.
        account: whose turn it takes.
        held: the set.
        body: files by their places in it.

    Raises:
        Refusal: one of them does not belong there or is no image; none of them is taken.
    """
    images = await service.read(_checked, held.digests, body, service.settings.limits.pixels)
    _check_room(service, account, images)
    if service.model.remembers:  # each piece at its time; they are put together from memory
        for first in range(0, len(images), _CHUNK):
            some = images[first : first + _CHUNK]
            await service.compute(account, "images", partial(service.vlm.images, some))
    for image in images:
        if image.sha256 not in held.images or not held.images[image.sha256].is_held:
            held.images[image.sha256] = image
    if not held.missing and held.encoded is None:
        await _complete(service, account, held)
    if service.model.remembers:
        for image in images:
            image.forget()


async def _complete(service: Service, account: str, held: AccountImages) -> None:
    sources = [held.images[digest] for digest in held.digests]

    def encode() -> Encoded:
        progress = service.interlude
        return service.encoded.get(
            held.digests, lambda: Encoded(service.vlm.images(sources, progress))
        )

    try:
        held.encoded = await service.compute(account, "images", encode)
    except ForgottenImageError:
        _LOG.warning("the model's memory of images is lost: from now on files are kept instead")
        service.model.remembers = False
        held.images = {name: image for name, image in held.images.items() if image.is_held}


def _checked(digests: Sequence[str], body: bytes, pixels: int) -> list[UploadedImage]:
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
        try:
            image.check()
        except BrokenImageError as error:
            raise Refusal(ErrorCode.BAD_IMAGE, str(error)) from None
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
