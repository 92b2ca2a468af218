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
    """Random search: draws normally distributed candidates around the start, keeps the best.

    Args:
        start: evaluate the start first, so that it is recommended if no candidate is better.
    """

    _smallest = 1

    def __init__(self, space: Space | int, *, start: bool = False, **common: Any) -> None:
        super().__init__(space, **common)
        self.start = start

    def _ask(self) -> np.ndarray:
        drawn = self._inside(self.sigma * self.rng.standard_normal((self.popsize, self.dim)))
        if self.start and not self.evaluations:
            drawn[0] = 0
        return drawn

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        pass  # the best candidate is all that it knows

    def recommend(self) -> np.ndarray:
        """The best candidate so far."""
        return self.best.point
