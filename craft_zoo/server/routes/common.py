"""Parameters and OpenAPI descriptions shared by the routes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path
from fastapi.security import HTTPBearer
from starlette.responses import Response

from craft_zoo.protocol import DIGEST_HEADER, IDEMPOTENCY_HEADER
from craft_zoo.server.call import BINARY

Id = Annotated[str, Path(description="id (a content hash) from an earlier answer", max_length=100)]

_IDEMPOTENCY = Header(
    alias=IDEMPOTENCY_HEADER,
    min_length=1,
    max_length=200,
    pattern="^[!-~]+$",
    description="idempotency key: requests with the same key are billed once; without one, every "
    "request is billed",
)
Key = Annotated[str, _IDEMPOTENCY]
OptionalKey = Annotated[str | None, _IDEMPOTENCY]

_BEARER = HTTPBearer(auto_error=False, description="the key that the model's owner gave")

_REASONS = {
    400: "The request is invalid.",
    401: "The key is missing or unknown.",
    402: "The quota is used up.",
    404: "The account has no object with this id.",
    409: "The Idempotency-Key belongs to another request.",
    413: "The request or its answer is too large.",
    415: "The content type is not supported.",
    422: "The request is invalid.",
    429: "Too many requests a second.",
    503: "The server is busy, or is being stopped.",
}


class BinaryResponse(Response):
    """A binary response."""

    media_type = BINARY


def guarded(tag: str) -> APIRouter:
    """A router whose routes need an API key."""
    return APIRouter(tags=[tag], dependencies=[Depends(_BEARER)])


def errors(*statuses: int, schema: str = "ErrorAnswer") -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of a guarded route's error responses.

    Args:
        statuses: HTTP statuses other than those that all guarded routes return.
        schema: name of the model of the response, which is JSON whatever the route returns
            otherwise.
    """
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        status: {"content": content, "description": _REASONS[status]}
        for status in sorted({401, 422, 429, 503, *statuses})
    }


def takes(content: dict[str, Any], **more: str) -> dict[str, Any]:
    """OpenAPI description of a route's body, and of the header with its digest."""
    digest = {
        "name": DIGEST_HEADER,
        "in": "header",
        "required": False,
        "description": "SHA-256 of the body, hexadecimal; a body that does not fit is refused",
        "schema": {"type": "string"},
    }
    return {"parameters": [digest], "requestBody": {"required": True, "content": content, **more}}
