"""Buffer of query results with the smallest losses, from which refiners are trained."""

from __future__ import annotations

import bisect

import numpy as np


class ReplayBuffer:
    """Logits in order of their losses; the largest losses are dropped when the buffer is full.

    Args:
        size: maximum number of bytes; the logits of one query are always kept.
        rng: draws the samples.

    Attributes:
        seen: queries since the buffer was last cleared, whether their logits were kept or not.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._size, self._rng = size, rng
        self._entries: list[tuple[float, int, np.ndarray]] = []
        self.seen = 0

    def add(self, logits: np.ndarray, loss: float) -> None:
        """Add the logits (N, C) of a query and their loss."""
        if logits.base is not None and logits.base.nbytes > logits.nbytes:
            logits = logits.copy()  # a view would keep its whole base array in memory
        bisect.insort(self._entries, (loss, self.seen, logits), key=lambda entry: entry[:2])
        self.seen += 1
        del self._entries[max(1, self._size // logits.nbytes) :]

    def sample(self) -> np.ndarray:
        """(N, C) logits; each image's row is from a random query of the half of smaller loss."""
        better = self._entries[: (self.seen + 1) // 2]
        chosen = self._rng.integers(len(better), size=len(better[0][2]))
        return np.stack([better[place][2][image] for image, place in enumerate(chosen)])

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self.seen = 0
