"""Detects image files that would exhaust a decoder's time or memory, without decoding them.

A decoder stores the metadata and follows the instructions of a file, so a few kilobytes can keep it
busy for hours or fill the memory. This module counts the segments of JPEG files and the chunks of
PNG files, and limits those that cost a decoder time or memory.
"""

from __future__ import annotations

import re
import struct

_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_JPEG_AFTER_SCAN = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # skips restarts
_JPEG_SEGMENTS = 512  # colour profiles and previews, in segments of 64 kB, need dozens
_JPEG_SCANS = 64  # encoders write about ten; the decoder passes over all pixels for each
_JPEG_TABLE_BYTES = 2**16
_JPEG_JUNK_BYTES = 2**16  # bytes outside of segments, which Pillow skips one by one
_JPEG_FRAME_BYTES = 32  # a frame header with four components is shorter
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xDE}
_JPEG_NOTES = frozenset({*range(0xE0, 0xF0), 0xFE})  # application data and comments
# Markers without a length field, or with an undefined one.
_JPEG_BARE = frozenset({0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})

_PNG_CHUNK = struct.Struct(">I4s")
_PNG_CHUNK_OVERHEAD = 12  # bytes of a chunk's length, name and checksum
_PNG_PIXELS = frozenset({b"IDAT", b"fdAT", b"fcTL"})
_PNG_PIXEL_CHUNKS = 2**16  # encoders write several kilobytes into each
_PNG_OTHER_CHUNKS = 256


def fault_of(content: bytes) -> str | None:
    """Why a JPEG or PNG file must not be decoded, as the end of a sentence; None if it may be.

    WebP files are not inspected: a million frames in 64 MB take half a second.
    """
    if content.startswith(b"\xff\xd8"):
        return _fault_of_jpeg(content)
    return _fault_of_png(content) if content.startswith(b"\x89PNG") else None


def _fault_of_jpeg(content: bytes) -> str | None:
    at, segments, scans, frames, tables, junk = 2, 0, 0, 0, 0, 0
    is_in_scan = False
    while found := (_JPEG_AFTER_SCAN if is_in_scan else _JPEG_MARKER).search(content, at):
        if not is_in_scan:
            junk += found.end() - at - 2
        at, marker, is_in_scan = found.end(), found[1][0], False
        if marker == _JPEG_END and scans:
            return None
        segments += 1
        length = int.from_bytes(content[at : at + 2], "big")
        if marker == _JPEG_SCAN:
            scans += 1
            is_in_scan = True
        elif marker in _JPEG_FRAMES:
            frames += 1
            if frames > 1 or length > _JPEG_FRAME_BYTES:
                return "holds more than one frame"
        elif marker not in _JPEG_NOTES | _JPEG_BARE:
            tables += length
        if marker not in _JPEG_BARE:
            at += max(2, length)
        if scans > _JPEG_SCANS:
            return f"has more than {_JPEG_SCANS} scans"
        if segments > _JPEG_SEGMENTS or tables > _JPEG_TABLE_BYTES or junk > _JPEG_JUNK_BYTES:
            return "has too many bytes besides its pixels"
    if not scans and junk + len(content) - at > _JPEG_JUNK_BYTES:
        return "has too many bytes besides its pixels"
    return None


def _fault_of_png(content: bytes) -> str | None:
    at, pixel_chunks, other_chunks = 8, 0, 0
    while at + _PNG_CHUNK.size <= len(content):
        length, name = _PNG_CHUNK.unpack_from(content, at)
        if name == b"IEND":
            return None
        if name in _PNG_PIXELS:
            pixel_chunks += 1
        else:
            other_chunks += 1
        if pixel_chunks > _PNG_PIXEL_CHUNKS or other_chunks > _PNG_OTHER_CHUNKS:
            return "consists of too many chunks"
        at += _PNG_CHUNK_OVERHEAD + length
    return None
