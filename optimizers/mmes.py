"""MMES, an evolution strategy whose mutations mix earlier evolution paths."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import norm

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.bounded import Population
from craft_zoo.optimizers.option import check_generation
from craft_zoo.optimizers.space import Space

_MIXED = 4  # paths in a mutation
_STEP_RATE, _LEVEL = 0.3, 0.05  # of the adaptation of the step size


class MMES(Population):
    """MMES (He, Zheng & Zhou 2021), with the settings of PyPop7, for d above 3.

    The first candidate is the origin. Then half of each generation mirrors the other half at the
    mean. A mutation is normal noise plus four of the ``2 ceil(√d)`` remembered evolution paths,
    recent ones more often. The step size grows while the parents beat those of the generation
    before. It has no name in the registry, as it serves the method ``bpt-vlm`` alone.
    """

    name = "mmes"

    def __init__(self, space: Space | int, **common: Any) -> None:
        super().__init__(space, **common)
        dim, parents = self.dim, self.popsize // 2
        check_generation(self.name, self.budget, 1 + self.popsize)
        weights = np.log((self.popsize + 1) / 2) - np.log(np.arange(1, parents + 1))
        self._weights = weights / weights.sum()
        self._mueff = 1 / (self._weights**2).sum()
        self._m = 2 * int(np.ceil(np.sqrt(dim)))
        self._rate = 0.4 / np.sqrt(dim)
        self._distance = int(np.ceil(1 / self._rate))  # generations between remembered paths
        self._age_rate = min(1.0, 3.8 / dim)  # of the geometric distribution of a path's age
        self._share = 1 - (1 - self._age_rate) ** self._m  # of the paths in a mutation's variance
        self._mean, self._path = np.zeros(dim), np.zeros(dim)
        self._paths = np.zeros((self._m, dim))
        self._made = np.zeros(self._m)  # generation of each path
        self._order = np.arange(self._m)  # of the paths, the latest last
        self._success = 0.0
        self._before: np.ndarray | None = None  # sorted losses of the generation before
        self._generation = 0

    def _ask(self) -> np.ndarray:
        if self._before is None:
            return self._mean[None]
        half = (self.popsize + 1) // 2
        moves = self.sigma * np.stack([self._mutation() for _ in range(half)])
        both = np.concatenate([self._mean + moves, self._mean - moves])
        return self._inside(both[: self.popsize])

    def _mutation(self) -> np.ndarray:
        mixed = np.zeros(self.dim)
        for _ in range(_MIXED):
            age = self.rng.geometric(self._age_rate) % self._m
            mixed += self.rng.standard_normal() * self._paths[self._order[self._m - 1 - age]]
        noise = np.sqrt(1 - self._share) * self.rng.standard_normal(self.dim)
        return noise + np.sqrt(self._share / _MIXED) * mixed

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        if self._before is None:
            self._before = np.full(self.popsize, losses[0])
            return
        if len(losses) < self.popsize or self.failed.all():
            return  # the weights need a whole generation, the ranking a finite loss
        parents = len(self._weights)
        mean = self._weights @ candidates[np.argsort(losses, kind="stable")[:parents]]
        step = np.sqrt(self._mueff) * (mean - self._mean) / self.sigma
        self._path = (1 - self._rate) * self._path + np.sqrt(self._rate * (2 - self._rate)) * step
        self._mean = mean
        self._remember()
        losses = np.sort(losses)
        better = self._weights @ (self._before[:parents] > losses[:parents])
        self._success *= 1 - _STEP_RATE
        self._success += np.sqrt(_STEP_RATE * (2 - _STEP_RATE) * self._mueff) * (2 * better - 1)
        self.sigma *= float(np.exp(norm.cdf(self._success) - 1 + _LEVEL))
        self._before = losses
        self._generation += 1

    def _remember(self) -> None:
        """Keep the path in place of the one closest to its predecessor, or of the oldest."""
        if self._generation < self._m:
            self._paths[self._generation] = self._path
            return
        gaps = np.diff(self._made[self._order])
        place = int(np.argmin(gaps)) + 1
        if gaps[place - 1] > self._distance:
            place = 0
        replaced = self._order[place]
        self._order = np.append(np.delete(self._order, place), replaced)
        self._made[replaced], self._paths[replaced] = self._generation, self._path

    def recommend(self) -> np.ndarray:
        """Mean of the search distribution."""
        return self._mean.copy()
