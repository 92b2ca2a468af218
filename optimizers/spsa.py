"""Simultaneous perturbation stochastic approximation."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.differences import PairedDifferences
from craft_zoo.optimizers.option import check_above_zero, check_at_least
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space

# Spall (1998), "Implementation of the simultaneous perturbation algorithm", section III.
_ALPHA, _GAMMA = 0.602, 0.101

_REPEATS = 2  # evaluations of the start in the first generation, to detect noise
_SAMPLES = 6  # evaluations of the start from which noise, once detected, is estimated
_CLEAR = 4  # standard deviations of the noise by which a pair should differ
_MOST = 10  # maximum factor by which calibration enlarges c


@register("spsa")
class SPSA(PairedDifferences):
    """SPSA (Spall 1992): estimates the gradient from two candidates along a random direction.

    The gains are Spall's: ``a_k = a / (A + k + 1)^0.602``, ``c_k = c / (k + 1)^0.101`` with A a
    tenth of the number of steps. The first generations calibrate a and c. If repeated evaluations
    of the start give different losses, c is doubled, up to tenfold, until pairs differ by 4
    standard deviations of the noise. a is set such that a step along a typical slope moves each
    coordinate by ``step``; longer steps are clipped to ``step`` in each coordinate.

    Args:
        step: distance that the first step moves a coordinate.
        calibration: directions sampled before the first step, which follows their mean gradient.
    """

    def __init__(
        self, space: Space | int, *, step: float = 0.3, calibration: int = 10, **common: Any
    ) -> None:
        super().__init__(space, **common)
        check_above_zero(self.name, step=step)
        check_at_least(self.name, 1, calibration=calibration)
        self.step = step
        self._repeats = _REPEATS if self.budget >= _REPEATS + 2 else 0
        self._calibration = max(1, min(calibration, (self.budget - self._repeats) // 2))
        self._starts = np.zeros(0)  # losses at the start
        self._largest_c = _MOST * self.c
        self._stability = 0.1 * self.budget / (2 * self.directions)  # A
        self._a: float | None = None
        self._typical = 0.0  # root mean square slope at the start
        self._k = 0

    def _distance(self) -> float:
        return self.c / (self._k + 1) ** _GAMMA

    def _ask(self) -> np.ndarray:
        if self._a is not None:
            return super()._ask()
        starts = np.repeat(self._inside(self._z)[None], self._repeats, axis=0)
        return np.concatenate([starts, self._pairs(self._calibration)])

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        if self._a is None:
            starts, n = ~self.failed[: self._repeats], self._repeats
            self._starts = np.append(self._starts, losses[:n][starts])
            self._calibrate(self._succeeded(losses[n:], self.failed[n:]))
        else:
            super()._tell(candidates, losses, outputs)

    def _calibrate(self, pairs: np.ndarray) -> None:
        """Take the first step, or prepare another calibrating generation."""
        slopes = self._slopes(pairs)
        self._typical = float(np.sqrt(np.mean(slopes**2))) if len(slopes) else 0.0
        if not 0 < self._typical < np.inf:
            return  # no slope: sample other directions
        noise = float(self._starts.std(ddof=1)) if len(self._starts) > 1 else 0.0
        enough = self.remaining < 8 * self._calibration  # too few left to calibrate longer
        if noise > 0 and not enough:
            if len(self._starts) < _SAMPLES:
                self._repeats = _SAMPLES - len(self._starts)
                return
            self._repeats = 0
            if 2 * self.c * self._typical < _CLEAR * noise and self.c < self._largest_c:
                self.c = min(2 * self.c, self._largest_c)
                return
        self._a = self.step * (self._stability + 1) ** _ALPHA / self._typical
        if len(self._starts):
            bent = float(pairs.mean()) - float(self._starts.mean())
            self._curvature = max(0.0, 2 * bent / self.c**2)
        self._note_start(pairs)
        self._step(pairs)

    def _gain(self) -> float:
        """The gain a_k, times the shrink factor."""
        return self._shrink * (self._a or 0.0) / (self._stability + self._k + 1) ** _ALPHA

    def _follow(self, gradient: np.ndarray) -> None:
        self._z = self._z - (self._gain() * gradient).clip(-self.step, self.step)
        self._k += 1
