"""Genetic algorithm for categorical variables."""

from __future__ import annotations

import numpy as np

from craft_zoo.optimizers.choices import ChoiceSearch
from craft_zoo.optimizers.option import check_at_least
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space


@register("genetic")
class Genetic(ChoiceSearch):
    """Genetic search of choices: tournament selection, uniform crossover, (μ + λ) survival.

    The first generation consists of the origin and mutations of it.

    Args:
        popsize: number of children a generation, and of survivors.
        tournament: number of survivors drawn, of which the best becomes a parent.
    """

    def __init__(
        self, space: Space | int, *, budget: int, seed: int, popsize: int = 20, tournament: int = 3
    ) -> None:
        super().__init__(space, budget=budget, seed=seed, popsize=popsize)
        check_at_least(self.name, 1, tournament=tournament)
        self.tournament = tournament
        self._alive = np.zeros((0, self.dim), dtype=np.int64)
        self._losses = np.zeros(0)

    def _propose(self) -> np.ndarray:
        if not len(self._alive):
            origin = np.zeros(self.dim, dtype=np.int64)
            return self.changed(origin, int(self.rng.integers(1, self.dim + 1)))
        mother, father = self._parent(), self._parent()
        child = np.where(self.rng.random(self.dim) < 0.5, mother, father)
        mutated = self.rng.random(self.dim) < 1 / self.dim
        return np.where(mutated, self.drawn(), child)

    def _parent(self) -> np.ndarray:
        drawn = self.rng.integers(0, len(self._alive), self.tournament)
        return self._alive[drawn[self._losses[drawn].argmin()]]

    def _learn(self, candidates: np.ndarray, losses: np.ndarray) -> None:
        everyone = np.concatenate([self._alive, candidates])
        all_losses = np.concatenate([self._losses, losses])
        fittest = all_losses.argsort(kind="stable")[: self.popsize]
        self._alive, self._losses = everyone[fittest], all_losses[fittest]
