"""Seeded random number generators, an independent one for each purpose of a run."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, purpose: str) -> np.random.Generator:
    """The generator of ``seed`` for ``purpose``, independent of those for other purposes."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def derived_seed(seed: int, purpose: str) -> int:
    """A 31-bit integer seed for other libraries, drawn from the generator for ``purpose``."""
    return int(generator(seed, purpose).integers(1, 2**31))
