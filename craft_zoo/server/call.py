"""A call of the API: its account, its body, its reservation, and its billed answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Annotated, TypeVar

from fastapi import Depends
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from craft_zoo.protocol import BILLED_HEADER, DIGEST_HEADER, IDEMPOTENCY_HEADER, digest
from craft_zoo.server.accounts import Account
from craft_zoo.server.admission import Reservation
from craft_zoo.server.bodies import parse, read_body
from craft_zoo.server.service import Prepared, Service

BINARY = "application/octet-stream"
JSON = "application/json"

Model = TypeVar("Model", bound=BaseModel)


class Call:
    """A call of the API. Routes take it as a parameter of the type :data:`Caller`.

    Attributes:
        request: the HTTP request.
        service: the service of the app.
        account: its account, found by :class:`craft_zoo.server.middleware.RequestMiddleware`.
        limits: the limits of the server.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.service: Service = request.app.state.service
        self.account: Account = request.state.account
        self.limits = self.service.settings.limits

    @cached_property
    def reservation(self) -> Reservation:
        """The call's slot and memory, held until the answer is sent.

        Raises:
            Refusal: no slot is free.
        """
        held: ExitStack = self.request.state.held
        return held.enter_context(self.service.admission.enter(self.account.name))

    @property
    def kind(self) -> str:
        """Content type of the body without parameters, "" if the header is missing."""
        header = self.request.headers.get("content-type", "")
        return header.partition(";")[0].strip().lower()

    async def read_body(self, most: int | None = None) -> bytes:
        """The body of at most ``most`` bytes, by default ``json_bytes``; see :func:`read_body`."""
        most = most or self.limits.json_bytes
        return await read_body(self.request, self.reservation, self.limits, most=most)

    async def parse(self, model: type[Model], body: bytes, *, values: int) -> Model:
        """Parse the body, see :func:`craft_zoo.server.bodies.parse`."""
        reading = partial(parse, model, body, self.reservation, values=values)
        return await self.service.read(reading, size=len(body))

    async def check_connected(self) -> None:
        """Check that the client still waits for the answer.

        Raises:
            ClientDisconnect: the client has disconnected.
        """
        if await self.request.is_disconnected():
            raise ClientDisconnect

    async def answer(
        self,
        key: str | None,
        about: tuple[str, ...],
        body: bytes,
        prepare: Callable[[], Awaitable[Prepared]],
        media_type: str = JSON,
    ) -> Response:
        """Answer the call; ``key`` and ``prepare`` are those of :meth:`Service.answer_once`.

        Args:
            about: strings that determine the answer, together with the body.

        Raises:
            Refusal: the call was not answered; nothing was billed.
            ClientDisconnect: the client has disconnected; nothing was billed.
        """
        service, before = self.service, self.reservation.bytes
        body_digest = await service.read(digest, body, size=len(body))
        question = service.digest_of(*about, body_digest)
        recorded = await service.finish(
            service.answer_once(self.account, key, question, prepare, self.check_connected)
        )
        answer = recorded.body or b""
        if self.reservation.bytes == before:  # a stored answer: its bytes were not reserved yet
            self.reservation.add(len(answer))
        self.request.state.predictions = recorded.bill.predictions
        headers = {
            BILLED_HEADER: str(recorded.bill.predictions),
            DIGEST_HEADER: await service.read(digest, answer, size=len(answer)),
        }
        if key is not None:
            headers[IDEMPOTENCY_HEADER] = key
        return Response(answer, media_type=media_type, headers=headers)


async def _call_of(request: Request) -> Call:
    return Call(request)  # FastAPI would call the class itself in another thread


Caller = Annotated[Call, Depends(_call_of)]
