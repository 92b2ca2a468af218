"""Encoding and decoding of numbered files as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from craft_zoo.errors import CraftZooError

_HEADER_BYTES = 2**20  # enough for about ten thousand files
_LENGTH_BYTES = 8  # of the field before the header that holds the header's length
_DIGITS = 9


def encode_files(files: Mapping[int, bytes]) -> bytes:
    """Encode files by number, as one-dimensional uint8 tensors named "0", "17", ..."""
    return safetensors.numpy.save(
        {str(number): np.frombuffer(content, dtype=np.uint8) for number, content in files.items()}
    )


def decode_files(body: bytes) -> dict[int, memoryview]:
    """Decode files by number, in ascending order, as views into the body.

    The header is parsed here, because the safetensors library copies all tensors.

    Raises:
        CraftZooError: the body is not in the format of :func:`encode_files`.
    """
    length = int.from_bytes(body[:_LENGTH_BYTES], "little")
    if len(body) < _LENGTH_BYTES or length > min(len(body) - _LENGTH_BYTES, _HEADER_BYTES):
        raise CraftZooError(
            "the body is not a safetensors file, or one of too many files: write it with "
            "safetensors.numpy.save, some hundreds of files at a time"
        )
    start = _LENGTH_BYTES + length
    content = memoryview(body)[start:]
    places = _places(body[_LENGTH_BYTES:start])
    reached = 0
    for begin, end in sorted(places.values()):
        if begin != reached:
            raise _no_file()
        reached = end
    if reached != len(content):
        raise _no_file()
    return {number: content[slice(*places[number])] for number in sorted(places)}


def _places(header: bytes) -> dict[int, tuple[int, int]]:
    """Begin and end offset of each file."""
    try:
        about = json.loads(header)
    except (ValueError, RecursionError):
        raise _no_file() from None
    if not isinstance(about, dict):
        raise _no_file()
    about.pop("__metadata__", None)
    return {_number(name): _place(name, tensor) for name, tensor in about.items()}


def _number(name: str) -> int:
    if not (name.isascii() and name.isdigit() and len(name) <= _DIGITS):
        raise CraftZooError(
            f"the file {name[:40]!r} is not named by a number: name it as '0' or '17'"
        )
    if str(int(name)) != name:
        raise CraftZooError(f"the file {name!r} has leading zeros in its name: name it {int(name)}")
    return int(name)


def _place(name: str, tensor: Any) -> tuple[int, int]:
    try:
        dtype, shape, (begin, end) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise _no_file() from None
    if dtype != "U8" or not isinstance(shape, list) or len(shape) != 1:
        raise CraftZooError(f"the file {name} is not a row of bytes: send one-dimensional uint8")
    if any(type(n) is not int or n < 0 for n in (begin, end, *shape)) or end - begin != shape[0]:
        raise _no_file()
    return begin, end


def _no_file() -> CraftZooError:
    return CraftZooError("the body is not a safetensors file: write it with safetensors.numpy.save")
