"""The better ones of the answers that queries have returned, for a refiner to learn from."""

from __future__ import annotations

import bisect

import numpy as np


class ReplayBuffer:
    """Answers in order of loss, the best of them where all would take too much memory.

    Args:
        size: bytes that may be kept; one answer always is.
        rng: draws the lessons.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._size, self._rng = size, rng
        self._answers: list[tuple[float, int, np.ndarray]] = []
        self.heard = 0  # answers since the last clear, kept or not

    def add(self, logits: np.ndarray, loss: float) -> None:
        """Take note of an answer (N, C)."""
        if logits.base is not None and logits.base.nbytes > logits.nbytes:
            logits = logits.copy()  # a view would keep all that it was computed with
        bisect.insort(self._answers, (loss, self.heard, logits), key=lambda entry: entry[:2])
        self.heard += 1
        del self._answers[max(1, self._size // logits.nbytes) :]

    def sample(self) -> np.ndarray:
        """(N, C): for each image its logits in one answer of the better half, at random."""
        better = self._answers[: (self.heard + 1) // 2]
        chosen = self._rng.integers(len(better), size=len(better[0][2]))
        return np.stack([better[place][2][image] for image, place in enumerate(chosen)])

    def clear(self) -> None:
        """Forget them."""
        self._answers.clear()
        self.heard = 0
