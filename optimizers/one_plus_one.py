"""(1+1) evolution strategy that changes few variables at a time."""

from __future__ import annotations

import numpy as np

from craft_zoo.optimizers.base import Optimizer, Outputs
from craft_zoo.optimizers.option import check_above_zero
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space

# Chosen on four functions of benchmarks/mixed.py.
_LONGER = 1.3  # by which the steps of changed variables grow if the loss falls
_SHORTER = _LONGER**-0.25  # and if it rises: at one success in five they stay
_ON_PLATEAUS = 2.0  # if the loss stays the same, as a rounded variable did
_LONGEST = 3.0
_FAR, _HOW_OFTEN = 1.5, 0.1  # a step of another length, and its chance


@register("one-plus-one")
class OnePlusOne(Optimizer):
    """(1+1) evolution strategy, for variables of which some are rounded.

    A candidate is the best point with one variable changed on average: a number by a normal step,
    whose length each variable adapts on its own by the one-fifth rule, and which doubles where the
    loss stays exactly the same; a choice (see :attr:`Space.groups`) by another value.

    Args:
        sigma: first length of the steps.
    """

    def __init__(self, space: Space | int, *, budget: int, seed: int, sigma: float = 1.0) -> None:
        super().__init__(space, budget=budget, seed=seed)
        check_above_zero(self.name, sigma=sigma)
        sizes = self.space.groups or (1,) * self.dim
        self._of = np.repeat(np.arange(len(sizes)), sizes)  # (d,) the variable of a coordinate
        self._coordinates = [np.flatnonzero(self._of == i) for i in range(len(sizes))]
        self._step = np.full(self.dim, sigma)
        self._changed = np.zeros(self.dim, dtype=bool)
        self._now, self._loss = np.zeros(self.dim), np.inf

    def _ask(self) -> np.ndarray:
        if not self.evaluations:
            return np.zeros((1, self.dim))
        rng, n = self.rng, len(self._coordinates)
        variables = rng.random(n) < 1 / n
        variables[rng.integers(n)] |= not variables.any()
        self._changed = variables[self._of]
        lengths = np.where(rng.random(self.dim) < _HOW_OFTEN, _FAR, self._step)
        steps = lengths * rng.standard_normal(self.dim)
        candidate = np.where(self._changed, self._now + steps, self._now)
        for i in np.flatnonzero(variables):
            scores = self._coordinates[i]
            if len(scores) > 1:
                other = rng.integers(len(scores) - 1)
                other += other >= self._now[scores].argmax()
                candidate[scores] = -1.0
                candidate[scores[other]] = 1.0
        return candidate[None]

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        loss, changed = float(losses[0]), self._changed
        if loss == self._loss:
            self._step[changed] *= _ON_PLATEAUS
        else:
            self._step[changed] *= _LONGER if loss < self._loss else _SHORTER
        self._step = np.minimum(self._step, _LONGEST)
        if loss < self._loss:
            self._now, self._loss = candidates[0], loss

    def recommend(self) -> np.ndarray:
        """The best candidate so far."""
        return self.best.point
