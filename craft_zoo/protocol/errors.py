"""Error codes of refused requests."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """The ``code`` in the body of an error, ``{"error": {"code": …, "message": …}}``.

    Attributes:
        status: the corresponding HTTP status.
    """

    status: int

    def __new__(cls, code: str, status: int) -> ErrorCode:
        """Create a member from its code and its HTTP status."""
        member = str.__new__(cls, code)
        member._value_, member.status = code, status
        return member

    UNAUTHORIZED = "unauthorized", 401
    UNKNOWN_IMAGE_SET = "unknown_image_set", 404
    UNKNOWN_CLASSIFIER = "unknown_classifier", 404
    UNKNOWN_MODEL = "unknown_model", 404
    NOT_FOUND = "not_found", 404
    BAD_REQUEST = "bad_request", 400
    BAD_DIGEST = "bad_digest", 400
    BAD_IMAGE = "bad_image", 422
    TOO_LARGE = "too_large", 413
    UNSUPPORTED = "unsupported", 415
    QUOTA_EXCEEDED = "quota_exceeded", 402
    RATE_LIMITED = "rate_limited", 429
    BUSY = "busy", 503
    CONFLICT = "conflict", 409
    INTERNAL = "internal", 500
