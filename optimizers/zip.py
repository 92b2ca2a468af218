"""ZIP's clipped two-point estimate."""

from __future__ import annotations

import numpy as np

from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.spsa import SPSA


@register("zip")
class ZIP(SPSA):
    """The optimizer of ZIP (Park et al. 2025): two-point estimates, clipped to a norm of sqrt(d).

    SPSA's gains and calibration, and ``gradient · min(1, sqrt(d) / ‖gradient‖)`` for the gradient,
    measured in units of the slopes at the start, so that losses of any scale are clipped alike: a
    single steep direction, which is mostly noise, moves no coordinate further than a typical one.
    (ZIP's low-rank prompt is not part of it.)
    """

    def _follow(self, gradient: np.ndarray) -> None:
        norm = float(np.linalg.norm(gradient))
        threshold = np.sqrt(self.dim) * self._typical
        clip = min(1.0, threshold / norm) if norm > 0 else 0.0
        self._z = self._z - self._gain() * clip * gradient
        self._k += 1
