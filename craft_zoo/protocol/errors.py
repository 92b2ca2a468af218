"""Error codes of refused requests."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """The ``code`` in the body of an error, ``{"error": {"code": …, "message": …}}``."""

    UNAUTHORIZED = "unauthorized"
    UNKNOWN_IMAGE_SET = "unknown_image_set"
    UNKNOWN_CLASSIFIER = "unknown_classifier"
    UNKNOWN_MODEL = "unknown_model"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    BAD_DIGEST = "bad_digest"
    BAD_IMAGE = "bad_image"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    QUOTA_EXCEEDED = "quota_exceeded"
    RATE_LIMITED = "rate_limited"
    BUSY = "busy"
    CONFLICT = "conflict"
    INTERNAL = "internal"

    @property
    def status(self) -> int:
        """The corresponding HTTP status."""
        return _STATUS[self]


_STATUS = {
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.UNKNOWN_IMAGE_SET: 404,
    ErrorCode.UNKNOWN_CLASSIFIER: 404,
    ErrorCode.UNKNOWN_MODEL: 404,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.BAD_DIGEST: 400,
    ErrorCode.BAD_IMAGE: 422,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED: 415,
    ErrorCode.QUOTA_EXCEEDED: 402,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.BUSY: 503,
    ErrorCode.CONFLICT: 409,
    ErrorCode.INTERNAL: 500,
}
