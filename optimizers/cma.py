"""CMA-ES with full covariance (pycma)."""

from __future__ import annotations

from typing import Any, Literal

from cma.sigma_adaptation import CMAAdaptSigmaCSA, CMAAdaptSigmaTPA

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.pycma import Pycma
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space

STEP_RULES = {"auto": True, "csa": CMAAdaptSigmaCSA, "tpa": CMAAdaptSigmaTPA}
"""Value of our option → value of pycma's option ``AdaptSigma``."""


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
    """

    def __init__(
        self,
        space: Space | int,
        *,
        active: bool = True,
        step: Literal["auto", "csa", "tpa"] = "auto",
        diagonal: bool = False,
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

    def _variant(self) -> dict[str, Any]:
        return self._options
