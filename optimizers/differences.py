"""Gradients estimated from pairs of candidates: what the methods that follow them share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.bounded import Bounded
from craft_zoo.optimizers.options import check_above_zero, check_at_least, check_generation


class PairedDifferences(Bounded):
    """Follows gradients estimated from pairs of candidates on both sides of a point.

    For a random direction δ with entries ±1 (its own element-wise inverse, so that this is SPSA's
    estimate), ``slope = (L(y + c δ) - L(y - c δ)) / 2c`` and ``gradient = mean of slope · δ``.

    Args:
        c: distance of a candidate from the point, a coordinate.
        directions: pairs a step, over which the gradient is averaged.
    """

    def __init__(self, dim: int, *, c: float = 0.3, directions: int = 1, **common: Any) -> None:
        super().__init__(dim, **common)
        check_above_zero(self.name, c=c)
        check_at_least(self.name, 1, directions=directions)
        check_generation(self.name, self.budget, 2)  # a pair
        self.c, self.directions = c, directions
        self._z = np.zeros(dim)
        self._deltas = np.zeros((0, dim))

    def _point(self) -> np.ndarray:
        """Where the next gradient is estimated."""
        return self._z

    def _distance(self) -> float:
        """c of the next pairs."""
        return self.c

    @abstractmethod
    def _follow(self, gradient: np.ndarray) -> None:
        """Move ``self._z``."""

    def _ask(self) -> np.ndarray:
        return self._pairs(self.directions)

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        slopes = self._slopes(losses)
        if len(slopes):
            self._step(slopes)

    def _step(self, slopes: np.ndarray) -> None:
        """Follow the mean gradient of the last pairs, and stay inside."""
        self._follow((slopes[:, None] * self._deltas[: len(slopes)]).mean(axis=0))
        self._z = self._inside(self._z)

    def _pairs(self, n: int) -> np.ndarray:
        """n pairs around the point, (2n, d), each candidate followed by its mirror image."""
        self._deltas = self.rng.choice([-1.0, 1.0], size=(n, self.dim))
        moves = self._distance() * self._deltas
        both = np.stack([self._point() + moves, self._point() - moves], axis=1)
        return self._inside(both.reshape(-1, self.dim))

    def _slopes(self, losses: np.ndarray) -> np.ndarray:
        """One for each pair; a candidate whose mirror image was cut off says nothing."""
        n = len(losses) // 2
        plus, minus = losses[: 2 * n].reshape(n, 2).T
        return (plus - minus) / (2 * self._distance())

    def recommend(self) -> np.ndarray:
        """The current iterate."""
        return self._z.copy()
