"""Names of the protocol's HTTP headers, and the digest of a body."""

from __future__ import annotations

import hashlib

DIGEST_HEADER = "Craft-Zoo-Digest"
"""Hash of the body, see :func:`digest`; on requests that have one and on all responses."""

BILLED_HEADER = "Craft-Zoo-Billed"
"""Predictions that an answer cost, the same when it is sent again."""

IDEMPOTENCY_HEADER = "Idempotency-Key"
"""Name of a question: two requests of one name are answered alike and billed once."""


def digest(body: bytes) -> str:
    """The SHA-256 of a body, hexadecimal."""
    return hashlib.sha256(body).hexdigest()
