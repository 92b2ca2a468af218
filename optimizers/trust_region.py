"""A convex function of outputs that are linear, minimised inside balls: projected gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from craft_zoo.optimizers.secants import LinearModel

Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""(n,) outputs → value and gradient (n,)."""


class BallMinimizer:
    """Minimises ``loss(offset + t @ jacobian) + pull / 2 |center + basis t|²``, ball by ball.

    FISTA with backtracking and restarts (Beck & Teboulle 2009; O'Donoghue & Candès 2015). What is
    learnt of the function's curvature in one ball serves the next. As outputs are linear in t,
    those at an extrapolated point are extrapolated: an iteration applies the Jacobian twice.

    Args:
        loss: convex.
        offset: (n,) float32 outputs at the balls' center.
        model: how they change around it.
        center: (d,) the balls' center.
        pull: weight of a pull towards the origin.
        iterations: at most, a ball.

    Attributes:
        t: (r,) where the last ball's minimum was found; 0 before the first.
        loss: of the outputs predicted there.
    """

    def __init__(
        self,
        loss: Loss,
        offset: np.ndarray,
        model: LinearModel,
        center: np.ndarray,
        *,
        pull: float,
        iterations: int = 30,
    ) -> None:
        self._loss, self._offset, self._model = loss, offset, model
        self._at, self._pull, self._iterations = center @ model.basis, pull, iterations
        self._curvature = 1e-6
        self._outputs = offset
        self.t = np.zeros(model.basis.shape[1])
        self.loss = math.nan

    def minimize(self, radius: float) -> np.ndarray:
        """(r,) near the minimum within ``radius``, beginning where the last ball ended."""
        x = y = self.t
        outputs_x = outputs_y = self._outputs
        momentum = 1.0
        for _ in range(self._iterations):
            value, slope = self._loss(outputs_y)
            value += self._pulled(y)
            gradient = self._model.slope(slope) + self._pull * (self._at + y)
            while True:
                new = _into_ball(y - gradient / self._curvature, radius)
                outputs_new = self._offset + self._model.change(new)
                move, loss = new - y, self._loss(outputs_new)[0]
                bound = value + gradient @ move + self._curvature / 2 * (move @ move)
                if loss + self._pulled(new) <= bound + 1e-7 * (1 + abs(value)):
                    break
                self._curvature *= 2
            step = new - x
            if (y - new) @ step > 0:  # the momentum leads uphill
                momentum, y, outputs_y = 1.0, new, outputs_new
            else:
                following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
                further = (momentum - 1) / following
                y = new + further * step
                outputs_y = outputs_new + np.float32(further) * (outputs_new - outputs_x)
                momentum = following
            x, outputs_x, self.loss = new, outputs_new, loss
            if np.linalg.norm(step) <= 1e-3 * radius:
                break
        self.t, self._outputs = x, outputs_x
        return x

    def _pulled(self, t: np.ndarray) -> float:
        moved = self._at + t
        return self._pull / 2 * float(moved @ moved)


def _into_ball(x: np.ndarray, radius: float) -> np.ndarray:
    length = float(np.linalg.norm(x))
    return x if length <= radius else x * (radius / length)
