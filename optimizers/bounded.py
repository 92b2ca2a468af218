"""Base classes of optimizers with box constraints or a Gaussian population."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.option import check_above_zero, check_at_least
from craft_zoo.optimizers.space import Space


class Bounded(Optimizer):
    """An optimizer with optional box constraints.

    Args:
        bound: every coordinate is clipped to [-bound, bound]; none for no bounds.
    """

    def __init__(
        self, space: Space | int, *, budget: int, seed: int, bound: float | None = None
    ) -> None:
        super().__init__(space, budget=budget, seed=seed)
        check_above_zero(self.name, bound=bound)
        self._bound = bound

    def _inside(self, points: np.ndarray) -> np.ndarray:
        return points if self._bound is None else points.clip(-self._bound, self._bound)


class Population(Bounded):
    """An optimizer whose generations are ``popsize`` normally distributed candidates.

    Args:
        popsize: λ, candidates a generation.
        sigma: initial standard deviation of a coordinate.
    """

    _smallest = 2  # smallest popsize: two losses can be compared

    def __init__(
        self, space: Space | int, *, popsize: int = 40, sigma: float = 1.0, **common: Any
    ) -> None:
        super().__init__(space, **common)
        check_at_least(self.name, self._smallest, popsize=popsize)
        check_above_zero(self.name, sigma=sigma)
        self.popsize, self.sigma = popsize, sigma
