"""ZIP's clipped two-point estimate."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.differences import PairedDifferences
from craft_zoo.optimizers.options import check_above_zero
from craft_zoo.optimizers.registry import register


@register("zip")
class ZIP(PairedDifferences):
    """The optimizer of ZIP (Park et al. 2025): two-point estimates, clipped to a norm of sqrt(d).

    ``z ← z - lr · gradient · min(1, sqrt(d) / ‖gradient‖)``, with lr falling as one over the square
    root of the steps. A single steep direction, which is mostly noise, moves no coordinate further
    than lr. (ZIP's low-rank prompt is not part of it.)

    Args:
        lr: learning rate.
    """

    def __init__(self, dim: int, *, lr: float = 10.0, c: float = 0.1, **common: Any) -> None:
        super().__init__(dim, c=c, **common)
        check_above_zero(self.name, lr=lr)
        self.lr = lr
        self._k = 0

    def _follow(self, gradient: np.ndarray) -> None:
        norm, threshold = float(np.linalg.norm(gradient)), np.sqrt(self.dim)
        clip = min(1.0, threshold / norm) if norm > 0 else 0.0
        self._z = self._z - self.lr / np.sqrt(self._k + 1) * clip * gradient
        self._k += 1
