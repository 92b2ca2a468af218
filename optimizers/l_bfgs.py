"""L-BFGS, a quasi-Newton search on finite differences (scipy)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import optimize

from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.scipy import Loss, Scipy
from craft_zoo.optimizers.space import Space

_DISTANCE = 0.1  # from the start to the points for curvatures, in units of the first step
_EXACT = 1e-6  # largest share of mixed terms in the changes of a sum of functions of one variable
_ROUNDING = 1e-14  # second differences below this share of a loss are errors of rounding
_PAIRS = 30  # remembered pairs of a step and the change of the gradient


@register("l-bfgs")
class LBFGS(Scipy):
    """L-BFGS-B (Zhu et al. 1997, scipy) on forward differences; d + 1 candidates for a gradient.

    Four candidates show whether the loss is a sum of functions of single variables. Only then the
    second derivatives, from 2 d candidates, give the scales of the variables and Newton's step.

    Args:
        only_separable: end the search if the loss is not a sum of functions of single variables.
        tolerance: a run has converged when a step lowers the loss by less than this part of it.
    """

    def __init__(
        self,
        space: Space | int,
        *,
        only_separable: bool = False,
        tolerance: float = 1e-14,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        self.only_separable, self.tolerance = only_separable, tolerance
        if only_separable:
            self.restarts = False

    def _routine(self) -> Callable[[Loss], Any]:
        return partial(
            _search,
            start=self._start,
            step=self.sigma if self._bound is None else min(self.sigma, self._bound),
            bound=np.inf if self._bound is None else self._bound,
            only_separable=self.only_separable,
            tolerance=self.tolerance,
        )


def _search(
    loss: Loss,
    *,
    start: np.ndarray,
    step: float,
    bound: float,
    only_separable: bool,
    tolerance: float,
) -> None:
    x, here, h = start, loss(start), _DISTANCE * step
    inward = np.where(x > 0, -h, h)  # so that no point is beyond the bound
    scale = np.full(x.size, step)
    if _is_separable(loss, x, here, inward):
        there = np.array(
            [[loss(_moved(x, i, side * h)) for side in (1, -1)] for i in range(x.size)]
        )
        slopes = (there[:, 0] - there[:, 1]) / (2 * h)
        curvatures = np.abs(there.sum(axis=1) - 2 * here) / h**2
        # Scales from rounding errors would lead nowhere, as on a sum of absolute values.
        linear = (slopes != 0) & (curvatures * h**2 <= _ROUNDING * np.abs(there).max(axis=1))
        curvatures[linear] = 0 if linear.all() else np.median(curvatures[~linear])
        if curvatures.any():
            curvatures = curvatures.clip(1e-12 * curvatures.max())
            newton = (x - slopes / curvatures).clip(-bound, bound)
            x = newton if loss(newton) < here else x
            scale = 1 / np.sqrt(curvatures / np.median(curvatures)) * step
    elif only_separable:
        return
    optimize.minimize(
        lambda y: loss(scale * y),
        x / scale,
        method="L-BFGS-B",
        jac="2-point",
        bounds=None if np.isinf(bound) else list(zip(-bound / scale, bound / scale, strict=True)),
        options={
            "maxcor": _PAIRS,
            "ftol": tolerance,
            "gtol": 0.0,
            "maxiter": np.inf,
            "maxfun": np.inf,
        },
    )


def _is_separable(loss: Loss, x: np.ndarray, here: float, moves: np.ndarray) -> bool:
    """Whether moves of half of the variables change the loss by as much as without the others."""
    half = np.arange(x.size) % 2 == 0
    one, other = (loss(x + np.where(which, moves, 0)) - here for which in (half, ~half))
    both = loss(x + moves) - here
    return abs(both - one - other) <= _EXACT * max(abs(one), abs(other))


def _moved(x: np.ndarray, i: int, distance: float) -> np.ndarray:
    moved = x.copy()
    moved[i] += distance
    return moved
