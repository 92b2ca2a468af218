"""Encoding and decoding of numbered files as safetensors."""

from __future__ import annotations

from collections.abc import Mapping

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


def decode_files(body: bytes) -> dict[int, bytes]:
    """Decode files by number, in ascending order; they are copied.

    Raises:
        CraftZooError: the body is not in the format of :func:`encode_files`.
    """
    # The parsed header takes a multiple of its size.
    if int.from_bytes(body[:_LENGTH_BYTES], "little") > _HEADER_BYTES:
        raise CraftZooError(
            "the body is not a safetensors file, or one of too many files: write it with "
            "safetensors.numpy.save, some hundreds of files at a time"
        )
    try:
        tensors = safetensors.deserialize(body)
    except safetensors.SafetensorError:
        raise CraftZooError(
            "the body is not a safetensors file: write it with safetensors.numpy.save"
        ) from None
    for name, tensor in tensors:
        if not (name.isascii() and name.isdigit() and len(name) <= _DIGITS):
            raise CraftZooError(
                f"the file {name[:40]!r} is not named by a number: name it as '0' or '17'"
            )
        if str(int(name)) != name:
            raise CraftZooError(
                f"the file {name!r} has leading zeros in its name: name it {int(name)}"
            )
        if tensor["dtype"] != "U8" or len(tensor["shape"]) != 1:
            raise CraftZooError(
                f"the file {name} is not a row of bytes: send one-dimensional uint8"
            )
    files = {int(name): bytes(tensor.pop("data")) for name, tensor in tensors}
    return {number: files[number] for number in sorted(files)}
