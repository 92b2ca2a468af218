"""Numbered files as safetensors of bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from craft_zoo.errors import CraftZooError

_HEADER_BYTES = 2**20  # room for some ten thousand files
_DIGITS = 9


def encode_files(files: Mapping[int, bytes]) -> bytes:
    """Files by number, as safetensors: one-dimensional uint8 tensors named "0", "17", ..."""
    return safetensors.numpy.save(
        {str(number): np.frombuffer(content, dtype=np.uint8) for number, content in files.items()}
    )


def decode_files(body: bytes) -> dict[int, bytes]:
    """The files by number, in the order of the numbers.

    Raises:
        CraftZooError: the body is not what :func:`encode_files` makes.
    """
    if len(body) < 8 or int.from_bytes(body[:8], "little") > min(len(body) - 8, _HEADER_BYTES):
        raise CraftZooError(
            "the body is no safetensors file, or one of too many files: write it with "
            "safetensors.numpy.save, some hundreds of files at a time"
        )
    try:
        tensors = safetensors.deserialize(body)
    except safetensors.SafetensorError:
        raise CraftZooError(
            "the body is no safetensors file: write it with safetensors.numpy.save"
        ) from None
    files: dict[int, bytes] = {}
    for name, tensor in tensors:
        if not (name.isascii() and name.isdigit() and len(name) <= _DIGITS):
            raise CraftZooError(
                f"the file {name[:40]!r} has no number for a name: name it as '0' or '17'"
            )
        if str(int(name)) != name:
            raise CraftZooError(f"the file {name!r} is named with zeros: name it {int(name)}")
        if tensor["dtype"] != "U8" or len(tensor["shape"]) != 1:
            raise CraftZooError(f"the file {name} is no row of bytes: send one-dimensional uint8")
        files[int(name)] = bytes(tensor["data"])
    return dict(sorted(files.items()))
