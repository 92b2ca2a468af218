"""Random search: what every optimizer has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.options import check_above_zero, check_at_least
from craft_zoo.optimizers.registry import register


@register("random")
class RandomSearch(Optimizer):
    """Random search: normally distributed candidates around the start, the best one is kept.

    Args:
        popsize: λ, candidates a generation.
        sigma: standard deviation of a coordinate.
        bound: every coordinate is clipped to [-bound, bound]; none for no bounds.
    """

    def __init__(
        self,
        dim: int,
        *,
        budget: int,
        seed: int,
        popsize: int = 40,
        sigma: float = 1.0,
        bound: float | None = None,
    ) -> None:
        super().__init__(dim, budget=budget, seed=seed)
        check_at_least(self.name, 1, popsize=popsize)
        check_above_zero(self.name, sigma=sigma, bound=bound)
        self.popsize, self.sigma, self._bound = popsize, sigma, bound
        self._best_loss, self._best = np.inf, np.zeros(dim)

    def _ask(self) -> np.ndarray:
        candidates = self.sigma * self.rng.standard_normal((self.popsize, self.dim))
        return candidates if self._bound is None else candidates.clip(-self._bound, self._bound)

    def _tell(
        self,
        candidates: np.ndarray,
        losses: np.ndarray,
        outputs: Sequence[np.ndarray] | None,
    ) -> None:
        i = int(losses.argmin())
        if losses[i] < self._best_loss:
            self._best_loss, self._best = float(losses[i]), candidates[i]

    def recommend(self) -> np.ndarray:
        """The best candidate so far."""
        return self._best.copy()
