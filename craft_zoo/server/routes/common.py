"""What several routes need."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.security import HTTPBearer
from starlette.responses import Response

from craft_zoo.protocol import DIGEST_HEADER, ErrorCode
from craft_zoo.server.accounts import Account
from craft_zoo.server.admission import Reservation
from craft_zoo.server.errors import Refusal
from craft_zoo.server.service import Service

BINARY = "application/octet-stream"

Id = Annotated[str, Path(description="content hash, as it was answered", max_length=100)]

_KEY = HTTPBearer(auto_error=False, description="the key that the model's owner gave")

_REASONS = {
    400: "The request is not as it should be.",
    401: "The key is missing or unknown.",
    402: "The quota is used up.",
    404: "The account has no such thing.",
    409: "The Idempotency-Key belongs to another request.",
    413: "It is more than is taken.",
    415: "The body is of a kind that is not read.",
    422: "The request is not as it should be.",
    429: "Too many requests a second.",
    503: "The server is busy, or is being stopped.",
}


class BinaryResponse(Response):
    """An array."""

    media_type = BINARY


def guarded(tag: str) -> APIRouter:
    """Routes that need a key."""
    return APIRouter(tags=[tag], dependencies=[Depends(_KEY)])


def errors(*statuses: int, schema: str = "ErrorAnswer") -> dict[int | str, dict[str, Any]]:
    """How a guarded route may refuse, for the schema.

    Args:
        statuses: beside those of all routes.
        schema: name of the model of what is answered, which is JSON whatever else the route
            answers with.
    """
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        status: {"content": content, "description": _REASONS[status]}
        for status in sorted({401, 422, 429, 503, *statuses})
    }


def digest_parameter() -> dict[str, Any]:
    """The header that carries the body's digest, for the schema."""
    return {
        "name": DIGEST_HEADER,
        "in": "header",
        "required": False,
        "description": "SHA-256 of the body, hexadecimal; a body that does not fit is refused",
        "schema": {"type": "string"},
    }


def account_of(request: Request) -> Account:
    """Who asks; see :class:`craft_zoo.server.middleware.RequestMiddleware`.

    Raises:
        Refusal: nobody whom the guard has let in.
    """
    account = getattr(request.state, "account", None)
    if account is None:
        raise Refusal(ErrorCode.UNAUTHORIZED, "the request has no key: send one")
    assert isinstance(account, Account)
    return account


def enter(request: Request) -> Reservation:
    """A place for the request, which it has until its answer is sent.

    Raises:
        Refusal: there is none.
    """
    held = request.state.held
    assert isinstance(held, ExitStack)
    return held.enter_context(service_of(request).gate.enter(account_of(request).name))


def service_of(request: Request) -> Service:
    """What is served."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
