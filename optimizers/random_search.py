"""Random search, the baseline of all optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.bounded import Population
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space


@register("random")
class RandomSearch(Population):
    """Random search: draws normally distributed candidates around the start, keeps the best."""

    _smallest = 1

    def __init__(self, space: Space | int, **common: Any) -> None:
        super().__init__(space, **common)
        self._best_loss, self._best = np.inf, np.zeros(self.dim)

    def _ask(self) -> np.ndarray:
        return self._inside(self.sigma * self.rng.standard_normal((self.popsize, self.dim)))

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        i = int(losses.argmin())
        if losses[i] < self._best_loss and not self.failed[i]:
            self._best_loss, self._best = float(losses[i]), candidates[i]

    def recommend(self) -> np.ndarray:
        """The best candidate so far."""
        return self._best.copy()
