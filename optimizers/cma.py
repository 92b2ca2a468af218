"""CMA-ES with full covariance (pycma)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from cma.sigma_adaptation import CMAAdaptSigmaCSA, CMAAdaptSigmaTPA

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.pycma import Pycma
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space

STEP_RULES = {"auto": True, "csa": CMAAdaptSigmaCSA, "tpa": CMAAdaptSigmaTPA}
"""Value of our option → value of pycma's option ``AdaptSigma``."""

Recommended = Literal["mean", "samples", "best"]


@register("cma")
class CMA(Pycma):
    """CMA-ES (Hansen 2016, pycma): learns mean, step size and full covariance of a Gaussian.

    Its time per candidate grows with d²: for d in the thousands use ``sep-cma`` or ``vkd-cma``.

    Args:
        active: also learn from the worst candidates, with negative weights (Jastrebski & Arnold
            2006).
        step: adaptation of the step size: csa (length of the evolution path), tpa (two candidates
            per generation along the last step) or auto (pycma's choice: tpa from some hundred
            variables on).
        diagonal: learn only a diagonal covariance, as sep-cma does.
        recommends: the recommended point: mean (of the search distribution), samples (the mean of
            popsize fresh samples of it) or best (the candidate of the least loss so far).
    """

    def __init__(
        self,
        space: Space | int,
        *,
        active: bool = True,
        step: Literal["auto", "csa", "tpa"] = "auto",
        diagonal: bool = False,
        recommends: Recommended = "mean",
        **common: Any,
    ) -> None:
        if step == "tpa" and Space.of(space).dim < 2:
            raise OptimizerError(
                f"option 'step' of {self.name!r} cannot be tpa in one variable: set csa or auto"
            )
        self._options = {
            "CMA_active": active,
            "CMA_diagonal": diagonal,
            "AdaptSigma": STEP_RULES[step],
        }
        super().__init__(space, **common)
        self.recommends = recommends
        self._point, self._loss = np.zeros(self.dim), np.inf  # recommended, unless it is the mean

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        super()._tell(candidates, losses, outputs)
        if self.recommends == "samples":
            self._point = np.mean([self._sample() for _ in range(self._es.popsize)], axis=0)
        elif not self.failed.all() and losses.min() < self._loss:
            self._point, self._loss = candidates[int(losses.argmin())], float(losses.min())

    def recommend(self) -> np.ndarray:
        """See the option ``recommends``."""
        return super().recommend() if self.recommends == "mean" else self._point.copy()

    def _variant(self) -> dict[str, Any]:
        return self._options
