"""Greedy hill climbing over categorical variables."""

from __future__ import annotations

import numpy as np

from craft_zoo.optimizers.choices import ChoiceSearch
from craft_zoo.optimizers.option import check_at_least
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space


@register("hill-climb")
class HillClimb(ChoiceSearch):
    """Greedy hill climbing over choices: repeatedly makes the best of some random changes.

    A candidate changes one coordinate of the best candidate so far. After ``patience`` candidates
    without improvement it changes two, then three, and so on; an improvement resets this to one.

    Args:
        popsize: candidates a generation.
        patience: candidates without improvement before one more coordinate is changed at once.
    """

    def __init__(
        self, space: Space | int, *, budget: int, seed: int, popsize: int = 20, patience: int = 200
    ) -> None:
        super().__init__(space, budget=budget, seed=seed, popsize=popsize)
        check_at_least(self.name, 1, patience=patience)
        self.patience = patience
        self._in_vain, self._least = 0, np.inf

    def _propose(self) -> np.ndarray:
        count = min(self.dim, 1 + self._in_vain // self.patience)
        return self.changed(self.best.point.astype(np.int64), count)

    def _learn(self, candidates: np.ndarray, losses: np.ndarray) -> None:
        self._in_vain = 0 if self.best.loss < self._least else self._in_vain + len(losses)
        self._least = self.best.loss
