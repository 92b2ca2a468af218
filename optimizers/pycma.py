"""Base class of the optimizers that pycma provides."""

from __future__ import annotations

import warnings
from typing import Any

import cma
import numpy as np

from craft_zoo.optimizers.base import Optimizer, Outputs
from craft_zoo.optimizers.option import check_above_zero, check_at_least, check_generation
from craft_zoo.optimizers.restarts import Policy, Restarts
from craft_zoo.optimizers.space import Space

_SMALLEST = 4  # smallest population that pycma supports
_FLAT = 10  # generations of equal losses that count as convergence; fewer may be failures


class Pycma(Optimizer):
    """An evolution strategy of pycma (Hansen et al. 2019).

    Args:
        popsize: λ, candidates a generation.
        sigma: initial step size, in units of the search space.
        bound: every coordinate stays in [-bound, bound]; none for no bounds.
        restarts: what to do if a run converges before the budget is spent: none (stop), ipop
            (restart with twice the population) or bipop (alternate large and small populations).
    """

    def __init__(
        self,
        space: Space | int,
        *,
        budget: int,
        seed: int,
        popsize: int = 40,
        sigma: float = 1.0,
        bound: float | None = None,
        restarts: Policy = "none",
    ) -> None:
        super().__init__(space, budget=budget, seed=seed)
        check_at_least(self.name, _SMALLEST, popsize=popsize)
        check_above_zero(self.name, sigma=sigma, bound=bound)
        check_generation(self.name, budget, popsize)
        self._bound = bound
        self._restarts = (
            None if restarts == "none" else Restarts(restarts, popsize, sigma, self.rng)
        )
        self._es = self._start(np.zeros(self.dim), popsize, sigma)
        self._converged: str | None = None
        self._solutions: list[np.ndarray] = []
        self._flat = 0  # generations of equal losses in a row
        self._ended: list[tuple[float, np.ndarray]] = []  # best loss and mean of earlier runs

    learns_from_late = True

    def _variant(self) -> dict[str, Any]:
        """The options of pycma that distinguish this optimizer."""
        return {}

    def _start(self, mean: np.ndarray, popsize: int, sigma: float) -> Any:
        options: dict[str, Any] = {
            "popsize": popsize,
            "seed": np.nan,  # with a number, pycma would seed numpy's global generator
            "randn": self._standard_normal,
            "tolflatfitness": _FLAT,
            "verbose": -9,
        }
        if self._bound is not None:
            options["bounds"] = [-self._bound, self._bound]
            if self.dim == 1:
                options["maxstd"] = np.inf  # pycma cannot reduce the deviation of one variable
        return cma.CMAEvolutionStrategy(mean, sigma, options | self._variant())

    def _standard_normal(self, *shape: int) -> Any:
        return self.rng.standard_normal(shape if shape else None)

    def _ask(self) -> np.ndarray:
        self._solutions = self._es.ask()
        return np.array(self._solutions)

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        if len(losses) < self._es.sp.weights.mu or self.failed.all():
            return  # fewer losses than parents, or no finite loss: too few for an update
        solutions = self._solutions[: len(losses)]  # the same list elements: pycma identifies them
        if self._awaited.swapped:
            solutions = list(candidates.copy())
        # pycma warns of another size of the population, and of candidates that were never told.
        with warnings.catch_warnings(action="ignore"):
            self._es.tell(solutions, losses)
        flat = losses[0] == losses[-1] and losses.min() == losses.max()
        self._flat = self._flat + 1 if flat else 0
        reasons = {} if 0 < self._flat < _FLAT else self._es.stop()
        if self._restarts is None:
            self._converged = ", ".join(f"{key} {value}" for key, value in reasons.items()) or None
        elif self._restarts.count(len(losses)) or reasons:
            self._ended.append((self._es.best.f, np.array(self._es.result.xfavorite)))
            popsize, sigma = self._restarts.next(self.remaining)
            mean = self.rng.standard_normal(self.dim)
            if self._bound is not None:
                mean = mean.clip(-self._bound, self._bound)
            self._es = self._start(mean, max(popsize, _SMALLEST), sigma)

    def _ask_ahead(self, count: int) -> np.ndarray:
        if not self._es.countiter:  # pycma draws nothing else before the first generation is told
            return super()._ask_ahead(count)
        return np.array([self._sample() for _ in range(count)])

    def _sample(self) -> np.ndarray:
        """A point that :meth:`ask` could return. pycma allows no second ``ask`` before ``tell``."""
        es = self._es
        if not es.countiter:  # no generation was told, or a restart
            return np.array(es.mean)
        point = es.mean + es.sigma * (es.sigma_vec * es.sm.sample(1)[0])
        return np.array(es.gp.pheno(point, copy=True, into_bounds=es.boundary_handler.repair))

    def _stop(self) -> str | None:
        return self._converged and f"pycma has converged: {self._converged}"

    def recommend(self) -> np.ndarray:
        """Mean of the search distribution; after restarts, that of the run with the least loss."""
        if not self._es.countiter:
            current = (np.inf, np.zeros(self.dim))
        else:
            current = (self._es.best.f, np.array(self._es.result.xfavorite))
        return min([*self._ended, current], key=lambda run: run[0])[1]
