"""Nelder and Mead's simplex search (scipy)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import optimize

from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.scipy import Loss, Scipy
from craft_zoo.optimizers.space import Space


@register("nelder-mead")
class NelderMead(Scipy):
    """Nelder-Mead (1965, scipy): moves the worst corner of a simplex; for few variables.

    Args:
        adaptive: use the coefficients of Gao & Han (2012), which depend on the number of variables.
        tolerance: a run has converged when the simplex is this small and its losses differ by less.
    """

    def __init__(
        self,
        space: Space | int,
        *,
        adaptive: bool = True,
        tolerance: float = 1e-9,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        self.adaptive, self.tolerance = adaptive, tolerance

    def _routine(self) -> Callable[[Loss], Any]:
        bound = np.inf if self._bound is None else self._bound
        steps = np.full(self.dim, min(self.sigma, bound))
        steps = np.where(self._start + steps > bound, -steps, steps)
        unlimited = {"maxiter": np.inf, "maxfev": np.inf}
        return partial(
            optimize.minimize,
            x0=self._start,
            method="Nelder-Mead",
            bounds=None if self._bound is None else [(-bound, bound)] * self.dim,
            options=unlimited
            | {
                "initial_simplex": self._start + np.vstack([0 * steps, np.diag(steps)]),
                "adaptive": self.adaptive,
                "xatol": self.tolerance,
                "fatol": self.tolerance,
            },
        )
