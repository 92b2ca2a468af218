"""Helpers shared by the routes."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.security import HTTPBearer
from starlette.responses import Response

from craft_zoo.protocol import BILLED_HEADER, DIGEST_HEADER, IDEMPOTENCY_HEADER, ErrorCode
from craft_zoo.server.accounts import Account
from craft_zoo.server.admission import Reservation
from craft_zoo.server.errors import Refusal
from craft_zoo.server.service import Prepared, Service

BINARY = "application/octet-stream"
JSON = "application/json"

Id = Annotated[str, Path(description="id (a content hash) from an earlier answer", max_length=100)]

OptionalKey = Annotated[
    str | None,
    Header(
        alias=IDEMPOTENCY_HEADER,
        min_length=1,
        max_length=200,
        pattern="^[!-~]+$",
        description="idempotency key: requests with the same key are billed once; without one, "
        "every request is billed",
    ),
]

_KEY = HTTPBearer(auto_error=False, description="the key that the model's owner gave")

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
    return APIRouter(tags=[tag], dependencies=[Depends(_KEY)])


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


def account_of(request: Request) -> Account:
    """The account of a request, set by :class:`craft_zoo.server.middleware.RequestMiddleware`.

    Raises:
        Refusal: the middleware has not authenticated the request.
    """
    account = getattr(request.state, "account", None)
    if account is None:
        raise Refusal(ErrorCode.UNAUTHORIZED, "the request has no key: send one")
    assert isinstance(account, Account)
    return account


def enter(request: Request) -> Reservation:
    """Reserve a request slot, which is held until the answer is sent.

    Raises:
        Refusal: no slot is free.
    """
    held = request.state.held
    assert isinstance(held, ExitStack)
    return held.enter_context(service_of(request).admission.enter(account_of(request).name))


def service_of(request: Request) -> Service:
    """The service of the app."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def answered(
    request: Request,
    key: str | None,
    question: bytes,
    prepare: Callable[[], Awaitable[Prepared]],
    load: Reservation,
) -> Response:
    """Answer a request in JSON. With an idempotency key, it is answered and billed once.

    Args:
        request: the request.
        key: its idempotency key; None: its answer is not stored.
        question: see :meth:`Service.question`.
        prepare: see :meth:`Service.answer_once`.
        load: the request's reservation.

    Raises:
        Refusal: the request was not answered; nothing was billed.
    """
    service, before = service_of(request), load.bytes
    name = key or f"unnamed {secrets.token_hex(16)}"
    recorded = await service.answer_once(
        account_of(request), name, question, prepare, is_kept=key is not None
    )
    if load.bytes == before:  # a stored answer: its bytes were not reserved yet
        load.add(len(recorded.body or b""))
    request.state.predictions = recorded.bill.predictions
    headers = {BILLED_HEADER: str(recorded.bill.predictions)}
    if key is not None:
        headers[IDEMPOTENCY_HEADER] = key
    return Response(recorded.body, media_type=JSON, headers=headers)
