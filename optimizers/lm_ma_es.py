"""LM-MA-ES, a limited-memory evolution strategy for many variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.bounded import Population
from craft_zoo.optimizers.option import check_generation
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space


@register("lm-ma-es")
class LMMAES(Population):
    """LM-MA-ES (Loshchilov, Glasmachers & Beyer 2018): learns log d directions; time d log d.

    Use it for d in the thousands, where ``cma`` is slow; ``sep-cma`` ignores correlations.
    """

    def __init__(self, space: Space | int, **common: Any) -> None:
        super().__init__(space, **common)
        dim, popsize = self.dim, self.popsize
        check_generation(self.name, self.budget, popsize)
        # Algorithm 1 assumes λ far below d. Its rates use max(d, λ) instead of d, so that they stay
        # below 1.
        memory = np.arange(4 + int(3 * np.log(dim)))
        size = max(dim, popsize)
        self._c_sigma = min(1.0, 2 * popsize / size)
        self._c_d = 1 / (1.5**memory * size)
        self._c_c = popsize / (4.0**memory * size)
        weights = np.log(popsize / 2 + 0.5) - np.log(np.arange(1, popsize // 2 + 1))
        self._weights = weights / weights.sum()
        self._mueff = 1 / (self._weights**2).sum()
        # CMA-ES's damping (Hansen 2016); it exceeds 1 only for large populations in few variables.
        self._damping = 1 + 2 * max(0.0, np.sqrt((self._mueff - 1) / (dim + 1)) - 1)
        self._mean, self._path = np.zeros(dim), np.zeros(dim)
        self._memory = np.zeros((len(memory), dim))  # m_i
        self._generation = 0
        self._normal = self._moves = np.zeros((0, dim))  # z, d of this generation

    def _ask(self) -> np.ndarray:
        self._normal = self.rng.standard_normal((self.popsize, self.dim))
        moves = self._normal
        rates = self._c_d[: self._generation]
        for rate, direction in zip(rates, self._memory, strict=False):
            moves = (1 - rate) * moves + rate * np.outer(moves @ direction, direction)
        self._moves = moves
        return self._inside(self._mean + self.sigma * moves)

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        if len(losses) < self.popsize or self.failed.all():
            return  # the weights need a whole generation, the ranking a finite loss
        best = np.argsort(losses, kind="stable")[: len(self._weights)]
        step = self._weights @ self._normal[best]
        self._mean = self._inside(self._mean + self.sigma * (self._weights @ self._moves[best]))
        self._path = self._accumulate(self._path, self._c_sigma, step)
        self._memory = self._accumulate(self._memory, self._c_c[:, None], step)
        length = self._path @ self._path / self.dim
        self.sigma *= float(np.exp(self._c_sigma / 2 * (length - 1) / self._damping))
        self._generation += 1

    def _accumulate(
        self, path: np.ndarray, rate: float | np.ndarray, step: np.ndarray
    ) -> np.ndarray:
        return (1 - rate) * path + np.sqrt(self._mueff * rate * (2 - rate)) * step

    def recommend(self) -> np.ndarray:
        """Mean of the search distribution."""
        return self._mean.copy()
