"""JPEG: segments, scans, and what lies between them."""

from __future__ import annotations

import re

_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_AFTER_SCAN = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # restarts belong to it

_SEGMENTS = 512  # a profile or a preview in segments of 64 kB has dozens
_SCANS = 64  # encoders write some ten; each makes the decoder pass over all pixels
_TABLE_BYTES = 2**16
_JUNK_BYTES = 2**16  # which Pillow skips one by one
_FRAME_BYTES = 32  # of a head with four components

_END, _SCAN = 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xDE}
_NOTES = frozenset({*range(0xE0, 0xF0), 0xFE})
_BARE = frozenset({0x01, 0xC8, *range(0xD0, 0xD9), *range(0xF0, 0xFE)})  # or of unknown length


def fault_of_jpeg(content: bytes | memoryview) -> str | None:
    """See :func:`craft_zoo.serve.anatomy.fault_of`."""
    at, segments, scans, frames, tables, junk = 2, 0, 0, 0, 0, 0
    is_in_scan = False
    while found := (_AFTER_SCAN if is_in_scan else _MARKER).search(content, at):
        if not is_in_scan:
            junk += found.end() - at - 2
        at, marker, is_in_scan = found.end(), found[1][0], False
        if marker == _END and scans:
            return None
        segments += 1
        length = int.from_bytes(content[at : at + 2], "big")
        if marker == _SCAN:
            scans += 1
            is_in_scan = True
        elif marker in _FRAMES:
            frames += 1
            if frames > 1 or length > _FRAME_BYTES:
                return "holds more than one frame"
        elif marker not in _NOTES and marker not in _BARE and marker != _END:
            tables += length
        if marker not in _BARE and marker != _END:
            at += max(2, length)
        if scans > _SCANS:
            return f"has more than {_SCANS} scans"
        if segments > _SEGMENTS or tables > _TABLE_BYTES or junk > _JUNK_BYTES:
            return "holds much beside its pixels"
    if not scans and junk + len(content) - at > _JUNK_BYTES:
        return "holds much beside its pixels"
    return None
