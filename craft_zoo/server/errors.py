"""Refusals: exceptions that the server turns into HTTP error responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from craft_zoo.protocol import ErrorCode
from craft_zoo.protocol.paths import DECISIONS, EMBEDDINGS, SYSTEM_ONE, ZERO_SHOT


class Refusal(Exception):  # noqa: N818, an expected response rather than a failure
    """An HTTP error response.

    Args:
        message: sentence that says what is wrong and how to correct it.
        status: HTTP status; None: the status of ``code``.
        retry_after: seconds after which the client may retry.
        headers: further headers of the response.
        param: the field of a JSON body that is wrong; None: unknown.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        status: int | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param
        self.status = status or code.status
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)


def busy(why: str, seconds: int = 1) -> Refusal:
    """Refusal of a busy server; the client may retry after some seconds."""
    pause = "a second" if seconds == 1 else f"{seconds} s"
    return Refusal(ErrorCode.BUSY, f"{why}: ask again in {pause}", retry_after=seconds)


def bad(message: str, status: int = 422, param: str | None = None) -> Refusal:
    """Refusal of a malformed request."""
    return Refusal(ErrorCode.BAD_REQUEST, message, status=status, param=param)


def response_to(refusal: Refusal, path: str) -> JSONResponse:
    """JSON response of a refusal, in the form that clients of the path's protocol expect."""
    if path in (DECISIONS, EMBEDDINGS):
        return _openai_response(refusal)
    content: Any = {"error": {"code": str(refusal.code), "message": refusal.message}}
    if path == ZERO_SHOT:
        content = {"error": refusal.message}
    elif path == SYSTEM_ONE:
        content = {"detail": refusal.message}
    return JSONResponse(content, refusal.status, refusal.headers)


_INVALID = "invalid_request_error"
# How OpenAI reports an error: status, type and code.
_OPENAI_ERRORS = {
    ErrorCode.UNAUTHORIZED: (401, _INVALID, "invalid_api_key"),
    ErrorCode.UNKNOWN_MODEL: (404, _INVALID, "model_not_found"),
    ErrorCode.BAD_IMAGE: (400, _INVALID, "invalid_image"),
    ErrorCode.CONFLICT: (400, _INVALID, "idempotency_key_reused"),
    ErrorCode.RATE_LIMITED: (429, "rate_limit_error", "rate_limit_exceeded"),
    ErrorCode.QUOTA_EXCEEDED: (429, "insufficient_quota", "insufficient_quota"),
}
# Without this header, OpenAI's clients retry all requests that were answered with status 429.
_NO_RETRY = {"x-should-retry": "false"}


def _openai_response(refusal: Refusal) -> JSONResponse:
    status = 400 if refusal.status == 422 else refusal.status
    kind = _INVALID if status < 500 else "server_error"
    status, kind, code = _OPENAI_ERRORS.get(refusal.code, (status, kind, str(refusal.code)))
    content = {"message": refusal.message, "type": kind, "code": code, "param": refusal.param}
    headers = refusal.headers | (_NO_RETRY if code == "insufficient_quota" else {})
    return JSONResponse({"error": content}, status, headers)
