"""For libraries that draw from numpy's global generator."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import mtrand  # where numpy.random has its global generator from

_WORDS = 625  # of an MT19937's state: 624 of the key, and the position


class GlobalGenerator:
    """The state of numpy's global generator as one optimizer has left it.

    Args:
        seed: where it starts, as after ``np.random.seed(seed)``.
    """

    def __init__(self, seed: int) -> None:
        self._own = _State.of(np.random.RandomState(seed % 2**32))

    @contextmanager
    def swapped_in(self, *, keep: bool = True) -> Iterator[None]:
        """Inside, the global generator is this optimizer's; outside, as if nothing had been.

        Args:
            keep: whether what is drawn inside counts.
        """
        with _mersenne_twister() as live:
            outside = _State.of(np.random)
            _write(live, self._own, outside)
            try:
                yield
            finally:
                inside = _read(live, self._own)
                if keep:
                    self._own = inside
                _write(live, outside, inside)


@dataclass(frozen=True)
class _State:
    """A state of numpy's global generator: all of it, and its words for quick comparison."""

    full: Any
    words: np.ndarray

    @classmethod
    def of(cls, generator: Any) -> _State:
        full = generator.get_state()
        return cls(full, np.append(full[1], np.uint32(full[2])).astype(np.uint32))

    @property
    def has_gauss(self) -> bool:
        """Whether the second of a pair of normal numbers waits, which is not in the words."""
        return bool(self.full[3])


# get_state and set_state take 30 µs each, more than some optimizers do for a candidate, so the
# words are compared and written where they are wherever that is enough.


def _read(live: np.ndarray, before: _State) -> _State:
    """The state that the global generator is in, which was in ``before``."""
    if not before.has_gauss and np.array_equal(live, before.words):
        return before  # without a number that waits, each draw changes the words
    return _State.of(np.random)


def _write(live: np.ndarray, state: _State, now: _State) -> None:
    """Put the global generator, which is in the state ``now``, into ``state``."""
    if state.has_gauss or now.has_gauss:
        np.random.set_state(state.full)
    else:
        live[:] = state.words


@contextmanager
def _mersenne_twister() -> Iterator[np.ndarray]:
    """The words of numpy's global generator where they live; another kind is put aside."""
    found = mtrand.get_bit_generator()
    used = found if type(found) is np.random.MT19937 else np.random.MT19937()
    if used is not found:
        mtrand.set_bit_generator(used)
    memory = (ctypes.c_uint32 * _WORDS).from_address(used.ctypes.state_address)
    try:
        yield np.ctypeslib.as_array(memory)
    finally:
        if used is not found:
            mtrand.set_bit_generator(found)
