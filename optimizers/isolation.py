"""For libraries that draw from Python's and numpy's global generators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


class GlobalGenerators:
    """The states of the two global generators as one optimizer has left them.

    Args:
        seed: what both start from, as after ``np.random.seed(seed)`` and ``random.seed(seed)``.
    """

    def __init__(self, seed: int) -> None:
        self._numpy = np.random.RandomState(seed % 2**32).get_state()
        self._python = random.Random(seed).getstate()

    @contextmanager
    def swapped_in(self, *, keep: bool = True) -> Iterator[None]:
        """Inside, the global generators are this optimizer's; outside, as if nothing had been.

        Args:
            keep: whether what is drawn inside counts.
        """
        numpy, python = np.random.get_state(), random.getstate()
        np.random.set_state(self._numpy)
        random.setstate(self._python)
        try:
            yield
        finally:
            if keep:
                self._numpy, self._python = np.random.get_state(), random.getstate()
            np.random.set_state(numpy)
            random.setstate(python)
