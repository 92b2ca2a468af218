"""Random numbers owned by a run: one independent stream a purpose, none of them global."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, purpose: str) -> np.random.Generator:
    """The stream of ``seed`` for ``purpose``; streams of other purposes are independent of it."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def derived_seed(seed: int, purpose: str) -> int:
    """A 31-bit seed for a library that wants an integer, from the stream of ``purpose``."""
    return int(generator(seed, purpose).integers(1, 2**31))
