"""SPSA with clipped gradients, after ZIP."""

from __future__ import annotations

import numpy as np

from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.spsa import SPSA


@register("spsa-clip")
class SPSAClip(SPSA):
    """SPSA with gradients clipped to a norm of sqrt(d), after ZIP (Park et al. 2025).

    Gains and calibration are SPSA's. The gradient is scaled by ``min(1, sqrt(d) / ‖gradient‖)``,
    measured in units of the root mean square slope at the start, so that clipping does not depend
    on the scale of the losses. A steep direction, which is mostly noise, then moves no coordinate
    further than a typical one. In ZIP, the threshold is absolute, and directions, gains and
    averages differ: the method ``zip`` has an optimizer of its own, ``ZipSPSA``.
    """

    def _follow(self, gradient: np.ndarray) -> None:
        norm = float(np.linalg.norm(gradient))
        threshold = np.sqrt(self.dim) * self._typical
        clip = min(1.0, threshold / norm) if norm > 0 else 0.0
        self._z = self._z - self._gain() * clip * gradient
        self._k += 1
