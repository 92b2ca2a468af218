"""Separable natural evolution strategy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.options import check_above_zero, check_at_least
from craft_zoo.optimizers.registry import register


@register("snes")
class SNES(Optimizer):
    """SNES (Schaul, Glasmachers & Schmidhuber 2011): natural gradient on mean and axes' widths.

    Args:
        popsize: λ, candidates a generation.
        sigma: initial width of the search distribution in each coordinate.
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
        check_at_least(self.name, 2, popsize=popsize)
        check_above_zero(self.name, sigma=sigma, bound=bound)
        if budget < 2:
            raise OptimizerError(
                f"a budget of 1 is too small for {self.name!r}, which compares candidates: raise it"
            )
        self.popsize, self._bound = popsize, bound
        self._mean, self._width = np.zeros(dim), np.full(dim, sigma)
        self._samples = np.zeros((0, dim))

    def _ask(self) -> np.ndarray:
        self._samples = self.rng.standard_normal((self.popsize, self.dim))  # s_k
        return self._inside(self._mean + self._width * self._samples)

    def _tell(
        self,
        candidates: np.ndarray,
        losses: np.ndarray,
        outputs: Sequence[np.ndarray] | None,
    ) -> None:
        n = len(losses)
        if n < 2:
            return
        samples = self._samples[:n][np.argsort(losses, kind="stable")]
        utilities = np.maximum(0, np.log(n / 2 + 1) - np.log(np.arange(1, n + 1)))  # u_k
        utilities = utilities / utilities.sum() - 1 / n
        rate = (3 + np.log(self.dim)) / (5 * np.sqrt(self.dim))  # η_σ; η_μ is 1
        self._mean = self._inside(self._mean + self._width * (utilities @ samples))
        self._width = self._width * np.exp(rate / 2 * (utilities @ (samples**2 - 1)))

    def _inside(self, points: np.ndarray) -> np.ndarray:
        return points if self._bound is None else points.clip(-self._bound, self._bound)

    def recommend(self) -> np.ndarray:
        """The mean of the search distribution."""
        return self._mean.copy()
