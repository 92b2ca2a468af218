"""COBYQA, a trust-region search with quadratic models (scipy)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import Bounds

from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.scipy import Loss, Scipy
from craft_zoo.optimizers.space import Space

# scipy.optimize.minimize holds a lock during COBYQA, so that two searches could not take turns.
try:
    from scipy._external.cobyqa import minimize  # since scipy 1.18
except ModuleNotFoundError:
    from scipy._lib.cobyqa import minimize


@register("cobyqa")
class COBYQA(Scipy):
    """COBYQA (Ragonneau & Zhang 2023, scipy): quadratic models of the loss in a trust region.

    It needs few evaluations, and some milliseconds for each.

    Args:
        tolerance: a run has converged when its trust region has this radius.
    """

    def __init__(self, space: Space | int, *, tolerance: float = 1e-8, **common: Any) -> None:
        super().__init__(space, **common)
        self.tolerance = tolerance

    def _routine(self) -> Callable[[Loss], Any]:
        options = {
            "radius_init": self.sigma,
            "radius_final": min(self.tolerance, self.sigma),
            "maxfev": sys.maxsize,
            "maxiter": sys.maxsize,
        }
        bounds = None
        if self._bound is not None:
            bounds = Bounds(*np.outer([-self._bound, self._bound], np.ones(self.dim)))
        return partial(minimize, x0=self._start, bounds=bounds, options=options)
