"""Bodies of requests: read piece by piece, never more than is taken."""

from __future__ import annotations

import hashlib
import hmac
import io
import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from craft_zoo.protocol import DIGEST_HEADER, ErrorCode
from craft_zoo.server.admission import Reservation
from craft_zoo.server.errors import Refusal, bad, busy
from craft_zoo.server.limits import Limits

Model = TypeVar("Model", bound=BaseModel)

# Of a body in JSON: strings, and the signs outside of them that a value, a key or a list begins at.
_PARTS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{,]|(:)', re.DOTALL)
_FEW_PARTS = 2**17  # that any body may have
_PART_BYTES = 48  # that reading one takes at the most, its share of the list included
_KEYS = 100


def kind_of(request: Request) -> str:
    """The body's content type without parameters, "" where none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, load: Reservation, limits: Limits, *, most: int) -> bytes:
    """The body; it is in memory once.

    Args:
        request: not read yet.
        load: gets the bytes as they come, and begins when all are in.
        limits: of time.
        most: bytes that are taken.

    Raises:
        Refusal: it is compressed, too large, too slow, or not what its digest says; or there is no
            place for the request.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(
            ErrorCode.UNSUPPORTED, "the body is compressed: send it without Content-Encoding"
        )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 18 or int(announced) > most):
        raise _too_large(most)
    body, size, digest = io.BytesIO(), 0, hashlib.sha256()
    try:
        async with load.arriving(limits.body_seconds):
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise _too_large(most)
                load.add(len(piece))
                body.write(piece)
                digest.update(piece)
    except TimeoutError:
        if load.is_hurried:
            raise busy("the server is being stopped") from None
        raise busy(f"the body did not come in {limits.body_seconds:g} s") from None
    expected = request.headers.get(DIGEST_HEADER)
    if expected is not None and not hmac.compare_digest(
        expected.strip().lower().encode(), digest.hexdigest().encode()
    ):
        raise Refusal(
            ErrorCode.BAD_DIGEST,
            f"the body does not fit the {DIGEST_HEADER} it came with: send it again",
        )
    load.begin()
    return body.getvalue()  # which copies nothing


def parse(
    model: type[Model], body: bytes, load: Reservation | None = None, *, values: int = 0
) -> Model:
    """The object that a body in JSON describes.

    A value of two bytes becomes an object of fifty, so values are counted before they are made.

    Args:
        model: of the object.
        body: the JSON.
        load: gets what the values take.
        values: that a good one may hold.

    Raises:
        Refusal: it describes none, or holds too many values.
    """
    parts = _count_parts(body, max(_FEW_PARTS, 2 * values + _KEYS))
    if load is not None:
        load.add(_PART_BYTES * parts)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise bad(
            f"the request is not as it should be ({place}: {first['msg']}): see /openapi.json"
        ) from None


def _count_parts(body: bytes, most: int) -> int:
    parts = keys = 0
    for parts, part in enumerate(_PARTS.finditer(body), 1):
        keys += part.lastindex is not None
        if parts > most or keys > _KEYS:
            what = f"{_KEYS} names" if keys > _KEYS else f"{most // 2:,} values"
            raise Refusal(
                ErrorCode.TOO_LARGE, f"the request holds more than {what}: send less at a time"
            )
    return parts


def _too_large(most: int) -> Refusal:
    return Refusal(
        ErrorCode.TOO_LARGE, f"the body is larger than {most:,} bytes: send less at a time"
    )
