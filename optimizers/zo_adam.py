"""Adam on zeroth-order gradient estimates."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.differences import PairedDifferences
from craft_zoo.optimizers.option import check_above_zero
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space

# Kingma & Ba (2015).
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


@register("zo-adam")
class ZOAdam(PairedDifferences):
    """Adam (Kingma & Ba 2015) on gradient estimates averaged over random directions (ZO-AdaMM).

    Args:
        lr: learning rate, about the distance that a coordinate moves in a step.
    """

    def __init__(
        self, space: Space | int, *, lr: float = 0.2, directions: int = 5, **common: Any
    ) -> None:
        super().__init__(space, directions=directions, **common)
        check_above_zero(self.name, lr=lr)
        self.lr = lr
        self._m, self._v = np.zeros(self.dim), np.zeros(self.dim)
        self._k = 0

    def _halt(self) -> None:
        self._m = np.zeros(self.dim)

    def _follow(self, gradient: np.ndarray) -> None:
        self._k += 1
        self._m = _BETA1 * self._m + (1 - _BETA1) * gradient
        self._v = _BETA2 * self._v + (1 - _BETA2) * gradient**2
        mean = self._m / (1 - _BETA1**self._k)
        scale = np.sqrt(self._v / (1 - _BETA2**self._k)) + _EPSILON
        self._z = self._z - self._shrink * self.lr * mean / scale
