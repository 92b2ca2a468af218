"""CMA-ES through pycma."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cma
import numpy as np

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.registry import register


@register("cma")
class CMA(Optimizer):
    """CMA-ES (Hansen 2016, pycma): samples a Gaussian, learns its mean, step size and covariance.

    Args:
        popsize: λ, candidates a generation.
        sigma: initial step size, in units of the search space.
        bound: every coordinate stays in [-bound, bound]; None for no bounds.
        diagonal: learn a diagonal covariance only (separable CMA-ES): faster for large d.
    """

    def __init__(
        self,
        dim: int,
        *,
        budget: int,
        seed: int,
        popsize: int = 40,
        sigma: float = 1.0,
        bound: float | None = None,
        diagonal: bool = False,
    ) -> None:
        super().__init__(dim, budget=budget, seed=seed)
        if popsize < 4:
            raise OptimizerError(f"option 'popsize' of 'cma' must be at least 4, not {popsize}")
        if popsize > budget:
            raise OptimizerError(
                f"a budget of {budget} is smaller than one generation of 'cma' ({popsize}): "
                f"raise the budget or lower the option 'popsize'"
            )
        if not sigma > 0:
            raise OptimizerError(f"option 'sigma' of 'cma' must be above 0, not {sigma}")
        if bound is not None and not bound > 0:
            raise OptimizerError(f"option 'bound' of 'cma' must be above 0, not {bound}")
        options: dict[str, Any] = {
            "popsize": popsize,
            "seed": np.nan,  # pycma would seed numpy's global generator with it
            "randn": self._standard_normal,
            "CMA_diagonal": diagonal,
            "verbose": -9,
        }
        if bound is not None:
            options["bounds"] = [-bound, bound]
        self._es = cma.CMAEvolutionStrategy(np.zeros(dim), sigma, options)
        self._told = False

    def _standard_normal(self, *shape: int) -> Any:
        return self.rng.standard_normal(shape if shape else None)

    def _ask(self) -> np.ndarray:
        return np.array(self._es.ask())

    def _tell(
        self,
        candidates: np.ndarray,
        losses: np.ndarray,
        outputs: Sequence[np.ndarray] | None,
        complete: bool,
    ) -> None:
        if complete:  # a cut generation is the last and too small to update a distribution from
            self._es.tell(list(candidates), losses)
            self._told = True

    def recommend(self) -> np.ndarray:
        """The mean of the search distribution."""
        return np.array(self._es.result.xfavorite) if self._told else np.zeros(self.dim)
