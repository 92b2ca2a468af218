"""SPSA-GC, SPSA with gradient correction (Nesterov momentum)."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space
from craft_zoo.optimizers.spsa import SPSA


@register("spsa-gc")
class SPSAGC(SPSA):
    """SPSA-GC (Oh et al. 2023, BlackVIP): SPSA with Nesterov momentum.

    The gradient is estimated at ``y = z + momentum · m``, then
    ``m ← momentum · m - a_k gradient`` and ``z ← z + m``.

    Args:
        momentum: share of the last step that the next one keeps.
    """

    def __init__(
        self, space: Space | int, *, momentum: float = 0.9, step: float = 0.1, **common: Any
    ) -> None:
        super().__init__(space, step=step, **common)
        if not 0 <= momentum < 1:
            raise OptimizerError(
                f"option 'momentum' of {self.name!r} must be in [0, 1), not {momentum}"
            )
        self.momentum = momentum
        self._m = np.zeros(self.dim)

    def _point(self) -> np.ndarray:
        return self._z + self.momentum * self._m

    def _halt(self) -> None:
        self._m = np.zeros(self.dim)

    def _follow(self, gradient: np.ndarray) -> None:
        move = (self._gain() * gradient).clip(-self.step, self.step)
        self._m = self.momentum * self._m - move
        self._z = self._z + self._m
        self._k += 1
