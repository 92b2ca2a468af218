"""WebP: chunks, each frame of an animation being one."""

from __future__ import annotations

import struct

_HEAD = struct.Struct("<4sI")
_FIRST = 12
_CHUNKS = 10_000


def fault_of_webp(content: bytes | memoryview) -> str | None:
    """See :func:`craft_zoo.serve.anatomy.fault_of`."""
    at, chunks = _FIRST, 0
    while at + _HEAD.size <= len(content):
        _, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size + size + size % 2
        chunks += 1
        if chunks > _CHUNKS:
            return "consists of too many chunks"
    return None
