"""Requests that are refused, and how it is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from craft_zoo.protocol import ErrorCode
from craft_zoo.protocol.paths import ZERO_SHOT


class Refusal(Exception):  # noqa: N818, an answer rather than a mistake
    """A request is not answered.

    Args:
        code: why, in a word.
        message: why, in a sentence that names the thing and the mend.
        status: of HTTP, where it is not the code's own.
        retry_after: seconds after which it may be sent again.
        headers: further ones.
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
    """There is too much to do."""
    return Refusal(ErrorCode.BUSY, f"{why}: ask again in a second", retry_after=1)


def bad(message: str, status: int = 422) -> Refusal:
    """The request is not as it should be."""
    return Refusal(ErrorCode.BAD_REQUEST, message, status=status)


def response_to(refusal: Refusal, path: str) -> JSONResponse:
    """What is answered; under Hugging Face's path in the form that its clients read."""
    error: Any = {"code": str(refusal.code), "message": refusal.message}
    if path == ZERO_SHOT:
        error = refusal.message
    return JSONResponse({"error": error}, refusal.status, refusal.headers)
