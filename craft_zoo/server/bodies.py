"""Request bodies: streamed with a size limit, then parsed as JSON."""

from __future__ import annotations

import asyncio
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

# Tokens of JSON: strings, and outside of them the characters that precede an element or a value.
_PARTS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{,]|(:)', re.DOTALL)
_FEW_PARTS = 2**17  # tokens that are allowed in any body
_PART_BYTES = 48  # upper bound of the memory of one parsed token, its list slot included
_KEYS = 100


async def read_body(
    request: Request, reservation: Reservation, limits: Limits, *, most: int
) -> bytes:
    """Read the body of a request, of at most ``most`` bytes. It is held in memory only once.

    ``reservation`` reserves the bytes as they arrive, and a server slot once the body is complete.

    Raises:
        Refusal: the body is compressed, too large, slow or unlike its digest; or no slot is free.
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
        async with asyncio.timeout(limits.body_seconds) as limit:
            reservation.admission.arriving.add(limit)
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise _too_large(most)
                reservation.add(len(piece))
                body.write(piece)
                digest.update(piece)
    except TimeoutError:
        raise busy("the body did not arrive in time") from None
    finally:
        reservation.admission.arriving.discard(limit)
    expected = request.headers.get(DIGEST_HEADER)
    if expected is not None and not hmac.compare_digest(
        expected.strip().lower().encode(), digest.hexdigest().encode()
    ):
        raise Refusal(
            ErrorCode.BAD_DIGEST,
            f"the body does not match its {DIGEST_HEADER}: send it again",
        )
    reservation.take_slot()
    return body.getvalue()  # CPython returns the buffer without a copy


def parse(
    model: type[Model],
    body: bytes,
    reservation: Reservation | None = None,
    *,
    values: int = 0,
    keys: int = _KEYS,
) -> Model:
    """Parse a JSON body into a pydantic model.

    A JSON value of 2 bytes becomes an object of about 50, so values are counted before parsing.

    Args:
        reservation: reserves the memory of the parsed values.
        values: number of values that a valid body may hold.
        keys: number of names of values that a valid body may hold.

    Raises:
        Refusal: the body does not fit the model, or holds too many values.
    """
    parts = _count_parts(body, max(_FEW_PARTS, 2 * values + keys), keys)
    if reservation is not None:
        reservation.add(_PART_BYTES * parts)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        # Each alternative of a union reports an error. The one that fits best fails deepest inside
        # the value. An error about the range of a value says more than one about its type.
        best = max(errors, key=lambda each: (len(each["loc"]), not each["type"].endswith("_type")))
        path = [part for part in best["loc"] if "[" not in str(part)]
        place = ".".join(str(part) for part in path)
        reason = best["msg"].removeprefix("Value error, ")
        raise bad(
            f"the request is invalid ({place or 'body'}: {reason}): see /openapi.json",
            param=place or None,
        ) from None


def _count_parts(body: bytes, most: int, most_keys: int) -> int:
    parts = keys = 0
    for parts, part in enumerate(_PARTS.finditer(body), 1):
        keys += part.lastindex is not None
        if parts > most or keys > most_keys:
            what = f"{most_keys:,} names" if keys > most_keys else f"{most // 2:,} values"
            raise Refusal(
                ErrorCode.TOO_LARGE, f"the request holds more than {what}: send less at a time"
            )
    return parts


def _too_large(most: int) -> Refusal:
    return Refusal(
        ErrorCode.TOO_LARGE, f"the body is larger than {most:,} bytes: send less at a time"
    )
