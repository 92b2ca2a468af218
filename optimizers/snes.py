"""SNES, the separable natural evolution strategy."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.bounded import Population
from craft_zoo.optimizers.option import check_generation
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space


@register("snes")
class SNES(Population):
    """SNES (Schaul, Glasmachers & Schmidhuber 2011): natural gradient on mean and deviations."""

    def __init__(self, space: Space | int, **common: Any) -> None:
        super().__init__(space, **common)
        check_generation(self.name, self.budget, self._smallest)
        self._mean, self._width = np.zeros(self.dim), np.full(self.dim, self.sigma)
        self._samples = np.zeros((0, self.dim))

    def _ask(self) -> np.ndarray:
        self._samples = self.rng.standard_normal((self.popsize, self.dim))  # s_k
        return self._inside(self._mean + self._width * self._samples)

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        n = len(losses)
        if n < 2 or self.failed.all():
            return  # no ranking possible
        samples = self._samples[:n][np.argsort(losses, kind="stable")]
        utilities = np.maximum(0, np.log(n / 2 + 1) - np.log(np.arange(1, n + 1)))  # u_k
        utilities = utilities / utilities.sum() - 1 / n
        rate = (3 + np.log(self.dim)) / (5 * np.sqrt(self.dim))  # η_σ; η_μ is 1
        self._mean = self._inside(self._mean + self._width * (utilities @ samples))
        self._width = self._width * np.exp(rate / 2 * (utilities @ (samples**2 - 1)))

    def recommend(self) -> np.ndarray:
        """Mean of the search distribution."""
        return self._mean.copy()
