"""CMA-ES with full covariance (pycma)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from cma import NoiseHandler
from cma.sigma_adaptation import CMAAdaptSigmaCSA, CMAAdaptSigmaTPA

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.pycma import Pycma
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space

STEP_RULES = {"auto": True, "csa": CMAAdaptSigmaCSA, "tpa": CMAAdaptSigmaTPA}
"""Value of our option → value of pycma's option ``AdaptSigma``."""

_MOST_REPEATS = 30  # evaluations of a candidate of a noisy function, as in pycma's example

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
        noise: handle noisy losses as pycma's NoiseHandler does (Hansen et al. 2009): the first
            candidates of a generation are evaluated twice; if noise changes their ranks, the step
            size grows, and so does the number of evaluations of a candidate, whose median is its
            loss.
    """

    def __init__(
        self,
        space: Space | int,
        *,
        active: bool = True,
        step: Literal["auto", "csa", "tpa"] = "auto",
        diagonal: bool = False,
        recommends: Recommended = "mean",
        noise: bool = False,
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
        if noise and self._restarts is not None:
            raise OptimizerError(f"option 'noise' of {self.name!r} cannot be used with restarts")
        self._noise = NoiseHandler(self.dim, [1, 1, _MOST_REPEATS]) if noise else None
        self.learns_from_late = not noise  # rows that replace each other are not repeats
        self.recommends = recommends
        self._point, self._loss = np.zeros(self.dim), np.inf  # recommended, unless it is the mean

    @property
    def _repeats(self) -> int:
        return 1 if self._noise is None else int(self._noise.evaluations)

    def _ask(self) -> np.ndarray:
        candidates = super()._ask()
        if self._noise is None:
            return candidates
        first = candidates[: 2 + len(candidates) // 20]  # as many as pycma evaluates again
        return np.repeat(np.concatenate([candidates, first]), self._repeats, axis=0)

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        if self._noise is None:
            self._update(candidates, losses, outputs)
            return
        k, count = self._repeats, len(self._solutions)
        rows = len(losses) // k * k  # losses of an incomplete group are not used
        medians = np.median(losses[:rows].reshape(-1, k), axis=1)
        self.failed = np.all(self.failed[:rows].reshape(-1, k), axis=1)[:count]
        self._update(candidates[:rows:k][:count], medians[:count], outputs)
        again = medians[count:]
        if len(again):
            self._noise.fit = medians[:count].tolist()
            self._noise.fitre = [*again, *medians[len(again) : count]]
            self._noise.idx = np.arange(len(again))
            self._noise.update_measure()
            self._es.sigma *= self._noise.treat()

    def _update(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
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
