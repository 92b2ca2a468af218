"""Refusals: errors with which the server answers a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from craft_zoo.protocol import ErrorCode
from craft_zoo.protocol.paths import ZERO_SHOT


class Refusal(Exception):  # noqa: N818, an answer rather than a mistake
    """The error with which a request is answered.

    Args:
        code: the reason, for programs.
        message: the reason in a sentence that names the thing and the mend.
        status: HTTP status, where it is not the code's own.
        retry_after: seconds after which the request may be sent again.
        headers: further headers of the response.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        status: int | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.status = status or code.status
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)


def busy(why: str) -> Refusal:
    """The server is too busy; the request may be sent again in a second."""
    return Refusal(ErrorCode.BUSY, f"{why}: ask again in a second", retry_after=1)


def bad(message: str, status: int = 422) -> Refusal:
    """The request is malformed."""
    return Refusal(ErrorCode.BAD_REQUEST, message, status=status)


def response_to(refusal: Refusal, path: str) -> JSONResponse:
    """The response of a refusal; under Hugging Face's path in the form that its clients read."""
    error: Any = {"code": str(refusal.code), "message": refusal.message}
    if path == ZERO_SHOT:
        error = refusal.message
    return JSONResponse({"error": error}, refusal.status, refusal.headers)
