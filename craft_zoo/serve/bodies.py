"""Bodies of requests: read piece by piece, never more than is taken."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from craft_zoo.serve.gate import Load
from craft_zoo.serve.limits import Limits
from craft_zoo.serve.refusal import Refusal, bad, busy
from craft_zoo.wire import DIGEST_HEADER, ErrorCode

Model = TypeVar("Model", bound=BaseModel)


def kind_of(request: Request) -> str:
    """The body's content type without parameters, "" where none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, load: Load, limits: Limits, *, most: int) -> bytes:
    """The body.

    Args:
        request: not read yet.
        load: gets the bytes as they come.
        limits: of time.
        most: bytes that are taken.

    Raises:
        Refusal: it is compressed, too large, too slow, or not what its digest says.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(
            ErrorCode.UNSUPPORTED, "the body is compressed: send it without Content-Encoding"
        )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 18 or int(announced) > most):
        raise _too_large(most)
    body, digest = bytearray(), hashlib.sha256()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for piece in request.stream():
                if len(body) + len(piece) > most:
                    raise _too_large(most)
                load.add(len(piece))
                body += piece
                digest.update(piece)
    except TimeoutError:
        raise busy(f"the body did not come in {limits.body_seconds:g} s") from None
    expected = request.headers.get(DIGEST_HEADER)
    if expected is not None and not hmac.compare_digest(
        expected.strip().lower().encode(), digest.hexdigest().encode()
    ):
        raise Refusal(
            ErrorCode.BAD_DIGEST,
            f"the body does not fit the {DIGEST_HEADER} it came with: send it again",
        )
    return bytes(body)


def parse(model: type[Model], body: bytes) -> Model:
    """The object that a body in JSON describes.

    Raises:
        Refusal: it describes none.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise bad(
            f"the request is not as it should be ({place}: {first['msg']}): see /openapi.json"
        ) from None


def _too_large(most: int) -> Refusal:
    return Refusal(
        ErrorCode.TOO_LARGE, f"the body is larger than {most:,} bytes: send less at a time"
    )
