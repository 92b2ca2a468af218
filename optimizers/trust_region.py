"""Convex functions inside a ball: accelerated projected gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""(r,) → value and gradient (r,)."""


class BallMinimizer:
    """Minimises one convex function within balls around the origin, one after another.

    FISTA with backtracking and restarts (Beck & Teboulle 2009; O'Donoghue & Candès 2015). What is
    learnt of the function's curvature in one ball serves the next.

    Args:
        function: value and gradient.
        iterations: at most, a ball.
    """

    def __init__(self, function: Function, *, iterations: int = 30) -> None:
        self._function, self._iterations = function, iterations
        self._curvature = 1e-6

    def __call__(self, radius: float, start: np.ndarray) -> np.ndarray:
        """(r,) near the minimum within ``radius``, beginning at ``start`` (r,)."""
        x = y = start
        momentum = 1.0
        for _ in range(self._iterations):
            value, gradient = self._function(y)
            while True:
                new = _into_ball(y - gradient / self._curvature, radius)
                move = new - y
                bound = value + gradient @ move + self._curvature / 2 * (move @ move)
                if self._function(new)[0] <= bound + 1e-7 * (1 + abs(value)):
                    break
                self._curvature *= 2
            step = new - x
            if (y - new) @ step > 0:  # the momentum leads uphill
                momentum, y = 1.0, new
            else:
                following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
                y = new + (momentum - 1) / following * step
                momentum = following
            x = new
            if np.linalg.norm(step) <= 1e-3 * radius:
                break
        return x


def _into_ball(x: np.ndarray, radius: float) -> np.ndarray:
    length = float(np.linalg.norm(x))
    return x if length <= radius else x * (radius / length)
