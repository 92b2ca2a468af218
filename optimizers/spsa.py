"""Simultaneous perturbation stochastic approximation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.registry import register

# Spall (1998), "Implementation of the simultaneous perturbation algorithm", section III.
_ALPHA, _GAMMA = 0.602, 0.101


@register("spsa")
class SPSA(Optimizer):
    """SPSA (Spall 1992): two candidates a step along a random direction estimate the gradient.

    The gains are Spall's: ``a_k = a / (A + k + 1)^0.602``, ``c_k = c / (k + 1)^0.101`` with A a
    tenth of the steps. ``a`` is set from the first slopes so that a step along one of them would
    move each coordinate by ``step`` on average; no step moves one further.

    Args:
        step: how far a first step moves a coordinate.
        c: half the distance of the first two candidates, a coordinate.
        calibration: directions tried before the first step, which goes along their mean.
    """

    def __init__(
        self,
        dim: int,
        *,
        budget: int,
        seed: int,
        step: float = 0.1,
        c: float = 0.1,
        calibration: int = 10,
    ) -> None:
        super().__init__(dim, budget=budget, seed=seed)
        for name, value in (("step", step), ("c", c), ("calibration", calibration)):
            if not value > 0:
                raise OptimizerError(f"option {name!r} of 'spsa' must be above 0, not {value}")
        if budget < 2:
            raise OptimizerError(
                "a budget of 1 is too small for 'spsa', which asks in pairs: raise it"
            )
        self.step, self.c = step, c
        self.calibration = max(1, min(calibration, budget // 2))
        self._stability = 0.1 * budget / 2  # A
        self._a: float | None = None
        self._k = 0
        self._z = np.zeros(dim)

    def _ask(self) -> np.ndarray:
        pairs = self.calibration if self._a is None else 1
        self._deltas = self.rng.choice([-1.0, 1.0], size=(pairs, self.dim))
        moves = self._c_k * self._deltas
        return np.stack([self._z + moves, self._z - moves], axis=1).reshape(-1, self.dim)

    @property
    def _c_k(self) -> float:
        return self.c / (self._k + 1) ** _GAMMA

    def _tell(
        self,
        candidates: np.ndarray,
        losses: np.ndarray,
        outputs: Sequence[np.ndarray] | None,
        complete: bool,
    ) -> None:
        pairs = len(losses) // 2  # a candidate whose mirror image was cut off says nothing
        if pairs == 0:
            return
        plus, minus = losses[: 2 * pairs].reshape(pairs, 2).T
        slopes = (plus - minus) / (2 * self._c_k)
        # A Rademacher δ is its own inverse.
        gradient = (slopes[:, None] * self._deltas[:pairs]).mean(axis=0)
        if self._a is None:
            scale = np.abs(slopes).mean()  # of the mean gradient, opposite slopes could cancel
            self._a = self.step * (self._stability + 1) ** _ALPHA / scale if scale > 0 else 0.0
        move = self._a / (self._stability + self._k + 1) ** _ALPHA * gradient
        self._z = self._z - np.clip(move, -self.step, self.step)
        self._k += 1

    def recommend(self) -> np.ndarray:
        """The current iterate."""
        return self._z.copy()
