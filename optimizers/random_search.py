"""Random search, the baseline of all optimizers."""

from __future__ import annotations

import numpy as np

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.bounded import Population
from craft_zoo.optimizers.registry import register


@register("random")
class RandomSearch(Population):
    """Random search: draws normally distributed candidates around the start, keeps the best."""

    _smallest = 1

    def _ask(self) -> np.ndarray:
        return self._inside(self.sigma * self.rng.standard_normal((self.popsize, self.dim)))

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        pass  # the best candidate is all that it knows

    def recommend(self) -> np.ndarray:
        """The best candidate so far."""
        return self.best.point
