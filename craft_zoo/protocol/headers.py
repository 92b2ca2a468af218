"""Names of the protocol's HTTP headers, and digests of bodies and texts."""

from __future__ import annotations

import hashlib

DIGEST_HEADER = "Craft-Zoo-Digest"
"""Digest of the body, see :func:`digest`; on all responses, and on requests with a body."""

BILLED_HEADER = "Craft-Zoo-Billed"
"""Number of predictions billed for an answer; equal when a stored answer is sent again."""

IDEMPOTENCY_HEADER = "Idempotency-Key"
"""Idempotency key: requests with equal keys get the same answer and are billed once."""


def digest(body: bytes) -> str:
    """The SHA-256 of a body, hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def digest_of_texts(*texts: str) -> str:
    """The SHA-256 of several texts, hexadecimal; others have another, also if they join alike."""
    whole = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        whole.update(len(encoded).to_bytes(8, "big") + encoded)
    return whole.hexdigest()
