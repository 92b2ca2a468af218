"""PNG: chunks."""

from __future__ import annotations

import struct

_HEAD = struct.Struct(">I4s")
_OVERHEAD = 12  # of a chunk: its length, its name, its checksum
_PIXELS = frozenset({b"IDAT", b"fdAT", b"fcTL"})
_CHUNKS = 2**16  # of pixels; encoders write some kilobytes into one
_OTHERS = 256


def fault_of_png(content: bytes | memoryview) -> str | None:
    """See :func:`craft_zoo.serve.anatomy.fault_of`."""
    at, chunks, others = 8, 0, 0
    while at + _HEAD.size <= len(content):
        length, name = _HEAD.unpack_from(content, at)
        if name == b"IEND":
            return None
        if name in _PIXELS:
            chunks += 1
        else:
            others += 1
        if chunks > _CHUNKS or others > _OTHERS:
            return "consists of too many chunks"
        at += _OVERHEAD + length
    return None
