"""Refusals: exceptions that the server turns into HTTP error responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from craft_zoo.protocol import ErrorCode
from craft_zoo.protocol.paths import ZERO_SHOT


class Refusal(Exception):  # noqa: N818, an expected response rather than a failure
    """An HTTP error response.

    Args:
        code: machine-readable reason.
        message: sentence that says what is wrong and how to correct it.
        status: HTTP status; None: the status of ``code``.
        retry_after: seconds after which the client may retry.
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
    """Refusal of a busy server; the client may retry after a second."""
    return Refusal(ErrorCode.BUSY, f"{why}: ask again in a second", retry_after=1)


def bad(message: str, status: int = 422) -> Refusal:
    """Refusal of a malformed request."""
    return Refusal(ErrorCode.BAD_REQUEST, message, status=status)


def response_to(refusal: Refusal, path: str) -> JSONResponse:
    """JSON response of a refusal; on the Hugging Face path, in the form its clients expect."""
    error: Any = {"code": str(refusal.code), "message": refusal.message}
    if path == ZERO_SHOT:
        error = refusal.message
    return JSONResponse({"error": error}, refusal.status, refusal.headers)
