"""ASGI middleware: authentication, rate limits, request log, and digests of responses."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from craft_zoo.protocol import API, DIGEST_HEADER, ErrorCode, digest
from craft_zoo.protocol.paths import ZERO_SHOT
from craft_zoo.server.errors import Refusal, busy, response_to
from craft_zoo.server.service import Service

REQUEST_LOG = "craft_zoo.server.requests"

_LOG = logging.getLogger("craft_zoo.server")
_REQUESTS = logging.getLogger(REQUEST_LOG)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_PIECE = 2**18  # bytes
_GONE = 499  # nginx's status for clients that disconnected; only logged


class RequestMiddleware:
    """ASGI middleware. All API paths need a key, whether they exist or not."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        state: dict[str, Any] = scope.setdefault("state", {})
        answer = _Answer(send)
        held = state["held"] = ExitStack()  # the request's reservation, until the answer is sent
        try:
            if _is_guarded(scope["path"].removeprefix(scope.get("root_path", ""))):
                self._authenticate(scope)
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            answer.status = _GONE
        except (Exception, asyncio.CancelledError) as error:
            refusal = _refusal_of(error)
            if not answer.status:
                await response_to(refusal, scope["path"])(scope, receive, answer)
        finally:
            held.close()
            self._note(scope, state, answer.status, time.perf_counter() - began)

    def _authenticate(self, scope: Scope) -> None:
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, key = headers[0].decode("latin-1").partition(" ") if headers else ("", "", "")
        if scheme.lower() != "bearer" or not key:
            raise _unauthorized("the request has no key")
        account = self._service.settings.accounts.find(key.strip())
        if account is None:
            raise _unauthorized("the key is unknown")
        scope["state"]["account"] = account  # logged even if the request is refused below
        self._service.requests.take(account.name)
        if self._service.is_closing or not self._service.is_ready:
            raise busy("the server is being started or stopped")

    def _note(self, scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", None) or "unknown"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._service.metrics.observe_request(method, path, status, seconds)
        account = state.get("account")
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "account": account.name if account else None,
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": round(1000 * seconds, 1),
            "predictions": state.get("predictions", 0),
        }
        _REQUESTS.info(json.dumps(line, ensure_ascii=False))


class _Answer:
    """Sends a response. If it has no digest header, its body is buffered to compute one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()
        self.status = 0  # of the answer, once it is begun

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not any(name.lower() == _DIGEST for name, _ in message["headers"]):
                self._start = message
                return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            headers = [*self._start["headers"], (_DIGEST, digest(bytes(self._body)).encode())]
            await self._send({**self._start, "headers": headers})
            message = {"type": "http.response.body", "body": bytes(self._body)}
            self._start = None
        # Send in pieces. uvicorn waits for each to leave the machine, so that unsent bytes stay in
        # this request's body, which is counted, and not in uvicorn's buffer.
        body = message.get("body", b"")
        for end in range(_PIECE, len(body), _PIECE):
            piece = {**message, "body": body[end - _PIECE : end], "more_body": True}
            await self._send(piece)
        if len(body) > _PIECE:
            message = {**message, "body": body[(len(body) - 1) // _PIECE * _PIECE :]}
        await self._send(message)


_DIGEST = DIGEST_HEADER.lower().encode()


def _is_guarded(path: str) -> bool:
    return path == API or path.startswith((f"{API}/", ZERO_SHOT))


def _refusal_of(error: BaseException) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, asyncio.CancelledError):  # the grace period of a stop is over
        return busy("the server is being stopped")
    _LOG.error("a request failed", exc_info=error)
    return Refusal(ErrorCode.INTERNAL, "the server failed: tell its owner when it happened")


def _unauthorized(why: str) -> Refusal:
    return Refusal(
        ErrorCode.UNAUTHORIZED,
        f"{why}: send the one that the model's owner gave you as 'Authorization: Bearer KEY'",
        headers={"WWW-Authenticate": "Bearer"},
    )
