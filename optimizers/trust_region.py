"""Minimisation of a convex function of linear outputs inside balls, by projected gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from craft_zoo.optimizers.secants import LinearModel

_LEAST_DECREASE = 1e-3  # of an iteration, relative to the decrease since the balls' centers
_ROUNDING = 1e-7  # of the objective, relative

Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""(B, n) outputs → value and gradient (B, n)."""


class BallMinimizer:
    """Minimises ``loss(at + t @ jacobian) + l2_penalty / 2 |center + t|²`` over t, |t_b| ≤ radius.

    Each block b has its own ball; t is restricted to the span of the model's moves.

    Inside, t has the coordinates of :meth:`LinearModel.step`, of which there may be fewer than d.

    The algorithm is FISTA with backtracking and restarts (Beck & Teboulle 2009; O'Donoghue & Candès
    2015). The estimate of the curvature carries over to the next ball. Outputs are linear in t, so
    those at the extrapolated point are extrapolated too: an iteration applies the Jacobian twice.
    It ends when an iteration changes the objective by less than a thousandth of the decrease so
    far, as the linear model is far less accurate than that.

    Args:
        loss: convex function of (B, n) outputs.
        model: linear model of the outputs around the balls' centers.
        center: (B, d) the balls' centers.
        l2_penalty: weight of the L2 penalty.
        iterations: maximum number of iterations per ball.

    Attributes:
        t: (B, D) coordinates of the last minimiser; 0 before the first.
        loss: loss of the outputs predicted there, without the penalty.
        loss_at_center: loss of the outputs at the balls' centers; NaN before the first minimiser.
    """

    def __init__(
        self,
        loss: Loss,
        model: LinearModel,
        center: np.ndarray,
        *,
        l2_penalty: float,
        iterations: int = 30,
    ) -> None:
        self._loss, self._model = loss, model
        self._center = model.step(center)
        self._l2_penalty, self._iterations = l2_penalty, iterations
        self._curvature = 1e-6
        self._outputs = model.at
        self._at_outputs: tuple[float, np.ndarray] | None = None  # loss and gradient there
        self._first = math.nan  # objective at the balls' centers
        self.t = np.zeros_like(self._center)
        self.loss = self.loss_at_center = math.nan

    def minimize(self, radius: float) -> np.ndarray:
        """(B, d) approximate minimiser within ``radius``, warm-started at the last one."""
        x = y = self.t
        outputs_x = outputs_y = self._outputs
        momentum, known, objective = 1.0, self._at_outputs, math.nan
        for iteration in range(self._iterations):
            value, slope = known or self._loss(outputs_y)
            if math.isnan(self._first):
                self.loss_at_center, self._first = value, value + self._penalty(y)
            value += self._penalty(y)
            if not iteration:
                objective = value
            gradient = self._model.slope(slope) + self._l2_penalty * (self._center + y)
            tried = None
            while True:
                new = _into_balls(y - gradient / self._curvature, radius)
                # Steps that the ball cuts off may end in one point.
                if tried is None or not np.array_equal(new, tried):
                    tried, outputs_new = new, self._model.at + self._model.change(new)
                    loss, slope_new = self._loss(outputs_new)
                move = new - y
                bound = value + np.vdot(gradient, move) + self._curvature / 2 * np.vdot(move, move)
                # Near the minimum, rounding errors may put every step above the bound.
                tiny = np.vdot(move, move) <= 1e-12 * radius**2
                if tiny or loss + self._penalty(new) <= bound + _ROUNDING * (1 + abs(value)):
                    break
                self._curvature *= 2
            step = new - x
            if np.vdot(y - new, step) > 0:  # restart: the momentum points uphill
                momentum, y, outputs_y = 1.0, new, outputs_new
                known = loss, slope_new
            else:
                following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
                further = (momentum - 1) / following
                y = new + further * step
                outputs_y = outputs_new + np.float32(further) * (outputs_new - outputs_x)
                momentum, known = following, None if further else (loss, slope_new)
            x, outputs_x, self.loss = new, outputs_new, loss
            before, objective = objective, loss + self._penalty(new)
            won = max(_LEAST_DECREASE * (self._first - objective), _ROUNDING * abs(objective))
            if abs(before - objective) <= won:
                break
        self.t, self._outputs, self._at_outputs = x, outputs_x, (loss, slope_new)
        return self._model.variables(x)

    def _penalty(self, t: np.ndarray) -> float:
        moved = self._center + t
        return self._l2_penalty / 2 * float(np.vdot(moved, moved))


def _into_balls(x: np.ndarray, radius: float) -> np.ndarray:
    """Project each row onto the ball with this radius."""
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x * (radius / np.maximum(lengths, radius))
