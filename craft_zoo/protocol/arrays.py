"""Encoding and decoding of float32 arrays as ``.npy``."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy

from craft_zoo.errors import CraftZooError

_MOST_AXES = 8
_READERS: dict[tuple[int, int], Any] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


def encode_array(array: np.ndarray) -> bytes:
    """Encode an array as a ``.npy`` file of little-endian float32 in C order."""
    file = io.BytesIO()
    npy.write_array(
        file, np.asarray(array, dtype="<f4", order="C"), version=(1, 0), allow_pickle=False
    )
    return file.getvalue()


def decode_array(body: bytes) -> np.ndarray:
    """Decode a ``.npy`` file of little-endian float32 in C order, version 1 or 2.

    Raises:
        CraftZooError: the body is no such file, or its size does not match its header; this is
            checked before memory is allocated.
    """
    file = io.BytesIO(body)
    try:
        shape, in_columns, dtype = _READERS[npy.read_magic(file)](file)
    except Exception:  # the header is Python source text, which fails to parse in many ways
        raise CraftZooError(
            "the body is not an .npy file: write it with numpy.save, in format version 1 or 2"
        ) from None
    if dtype != np.dtype("<f4"):  # excludes object arrays, which would be unpickled
        raise CraftZooError(f"the array is of {dtype}: send little-endian float32")
    if in_columns:
        raise CraftZooError("the array is in Fortran's order: send it in C's (ascontiguousarray)")
    if len(shape) > _MOST_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise CraftZooError(
            f"the array's shape is invalid: send up to {_MOST_AXES} axes of 0 or more numbers"
        )
    promised, found = math.prod(shape), (len(body) - file.tell()) / 4
    if promised != found:
        raise CraftZooError(
            f"the array's header promises {_short(promised)} numbers and {found:,.9g} follow: send "
            f"the file whole"
        )
    numbers = np.frombuffer(body, dtype="<f4", offset=file.tell())
    try:
        return numbers.reshape(shape).astype(np.float32)
    except ValueError:  # one length is 0, and the others exceed what NumPy can count
        raise CraftZooError(
            f"the array's shape {shape!s:.80} is too large: send shorter axes"
        ) from None


def _short(number: int) -> str:
    return f"{number:,}" if number < 10**18 else "more than 10^18"
