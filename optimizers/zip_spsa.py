"""The optimizer of ZIP: clipped gradients, each averaged over several random directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Optimizer, Outputs
from craft_zoo.optimizers.option import check_above_zero, check_at_least, check_generation
from craft_zoo.optimizers.space import Space

_ALPHA, _GAMMA = 0.4, 0.1


class ZipSPSA(Optimizer):
    """Two-point estimates as in ZIP (Park et al. 2025), with the settings of its code.

    Step k = 1, 2, … estimates the gradient along ``pairs`` random directions δ, whose entries have
    random signs and sizes in [0.5, 1]::

        gradient = mean of (L(y + c_k δ) - L(y - c_k δ)) / (2 c_k δ)        c_k = c / k^0.1
        y ← y - a_k min(1, sqrt(d) / ‖gradient‖) gradient                  a_k = a / (k + 1)^0.4

    Unlike ``spsa``, it neither calibrates its gains nor retreats. Its
    scale is that of ZIP's parameters, for which alone it is meant; so it has no name in the
    registry.

    Args:
        pairs: directions, of two candidates each, that a gradient is averaged over.
        a: gain of the steps.
        c: distance of a candidate, for an entry of 1.
    """

    def __init__(
        self,
        space: Space | int,
        *,
        pairs: int = 5,
        a: float = 0.01,
        c: float = 0.01,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        check_at_least("zip", 1, pairs=pairs)
        check_above_zero("zip", a=a, c=c)
        check_generation("zip", self.budget, 2)
        self.pairs, self.a, self.c = pairs, a, c
        self._y = np.zeros(self.dim)
        self._k = 1
        self._deltas = np.zeros((0, self.dim))

    def _distance(self) -> float:
        return self.c / self._k**_GAMMA

    def _gain(self) -> float:
        return self.a / (self._k + 1) ** _ALPHA

    def _ask(self) -> np.ndarray:
        shape = self.pairs, self.dim
        self._deltas = self.rng.uniform(0.5, 1, shape) * self.rng.choice([-1.0, 1.0], shape)
        moves = self._distance() * self._deltas
        return np.stack([self._y + moves, self._y - moves], axis=1).reshape(-1, self.dim)

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        n = len(losses) // 2  # a last candidate without its mirror image is ignored
        good = ~self.failed[: 2 * n].reshape(n, 2).any(axis=1)
        if good.any():
            both = losses[: 2 * n].reshape(n, 2)[good]
            slopes = (both[:, 0] - both[:, 1]) / (2 * self._distance())
            gradient = (slopes[:, None] / self._deltas[:n][good]).mean(axis=0)
            self._follow(gradient)
        self._k += 1

    def _follow(self, gradient: np.ndarray) -> None:
        norm, most = float(np.linalg.norm(gradient)), float(np.sqrt(self.dim))
        self._y = self._y - self._gain() * min(1.0, most / norm if norm else 1.0) * gradient

    def recommend(self) -> np.ndarray:
        """The last point."""
        return self._y.copy()
