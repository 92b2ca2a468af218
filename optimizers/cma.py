"""CMA-ES."""

from __future__ import annotations

from typing import Any, Literal

from cma.sigma_adaptation import CMAAdaptSigmaCSA, CMAAdaptSigmaTPA

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.pycma import Pycma
from craft_zoo.optimizers.registry import register

STEP_RULES = {"auto": True, "csa": CMAAdaptSigmaCSA, "tpa": CMAAdaptSigmaTPA}
"""pycma's option ``AdaptSigma`` for each of ours."""


@register("cma")
class CMA(Pycma):
    """CMA-ES (Hansen 2016, pycma): learns mean, step size and full covariance of a Gaussian.

    Its own time grows with d² a candidate: for d in the thousands see ``sep-cma``, ``vkd-cma``.

    Args:
        active: learn from the worst candidates too, with negative weights (Jastrebski & Arnold
            2006).
        step: how the step size adapts: csa (length of the evolution path), tpa (two candidates a
            generation along the last step) or auto (pycma's choice: tpa from some hundred
            variables on).
        diagonal: learn a diagonal covariance only, as sep-cma does.
    """

    def __init__(
        self,
        dim: int,
        *,
        active: bool = True,
        step: Literal["auto", "csa", "tpa"] = "auto",
        diagonal: bool = False,
        **common: Any,
    ) -> None:
        if step == "tpa" and dim < 2:
            raise OptimizerError(
                f"option 'step' of {self.name!r} cannot be tpa in one variable: set csa or auto"
            )
        self._options = {
            "CMA_active": active,
            "CMA_diagonal": diagonal,
            "AdaptSigma": STEP_RULES[step],
        }
        super().__init__(dim, **common)

    def _variant(self) -> dict[str, Any]:
        return self._options
