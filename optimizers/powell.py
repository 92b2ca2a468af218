"""Powell's search along conjugate directions (scipy)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import optimize

from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.scipy import Loss, Scipy
from craft_zoo.optimizers.space import Space


@register("powell")
class Powell(Scipy):
    """Powell (1964, scipy): line searches along directions that become conjugate.

    Args:
        tolerance: a run has converged when a round of line searches lowers the loss by less than
            this part of it.
    """

    def __init__(self, space: Space | int, *, tolerance: float = 1e-12, **common: Any) -> None:
        super().__init__(space, **common)
        self.tolerance = tolerance

    def _routine(self) -> Callable[[Loss], Any]:
        bounds = None if self._bound is None else [(-self._bound, self._bound)] * self.dim
        options = {"ftol": self.tolerance, "maxiter": np.inf, "maxfev": np.inf}
        return partial(
            optimize.minimize,
            x0=self._start,
            method="Powell",
            bounds=bounds,
            options=options | {"direc": self.sigma * np.eye(self.dim)},
        )
