"""When a run has converged before the budget is spent: how the next one starts."""

from __future__ import annotations

from typing import Literal

import numpy as np

Policy = Literal["none", "ipop", "bipop"]

_FACTOR = 2  # by which IPOP enlarges the population
_FEW = 10  # generations that a large population must be able to make


class Restarts:
    """Population and step size of the runs after the first, within the budget.

    ``ipop``: each run has twice the population of the one before (Auger & Hansen 2005).
    ``bipop``: such runs take turns with short ones of a smaller random population and step size;
    the regime that has used fewer evaluations is next (Hansen 2009, with the constants of pycma's
    ``fmin``).

    Args:
        policy: ``ipop`` or ``bipop``.
        popsize: λ of the first run.
        sigma: step size of the first run.
        rng: for the random choices of ``bipop``.
    """

    def __init__(
        self, policy: Policy, popsize: int, sigma: float, rng: np.random.Generator
    ) -> None:
        self._policy, self._popsize, self._sigma, self._rng = policy, popsize, sigma, rng
        self._large = popsize
        self._spent = {"large": 0, "small": 0}
        self._regime = "small"  # where pycma books the first run
        self._used, self._limit = 0, np.inf

    def count(self, evaluations: int) -> bool:
        """Note what the run at hand has used.

        Returns:
            Whether that was all of its share; only a short run has one.
        """
        self._used += evaluations
        self._spent[self._regime] += evaluations
        return self._used >= self._limit

    def next(self, remaining: int) -> tuple[int, float]:
        """λ and step size of the next run.

        Args:
            remaining: evaluations left.
        """
        self._used = 0
        # Beyond this a larger population could make but a few generations, and learn nothing.
        fits = _FACTOR * self._large * _FEW <= remaining
        behind = self._spent["small"] < self._spent["large"]
        if self._policy == "bipop" and (behind or not fits):
            self._regime, self._limit = "small", max(1, self._spent["large"] / 2)
            shrink = self._rng.uniform() ** 2, self._rng.uniform()
            popsize = int(self._popsize * (self._large / self._popsize) ** shrink[0])
            return popsize, self._sigma * 0.01 ** shrink[1]
        self._regime, self._limit = "large", np.inf
        if fits:
            self._large *= _FACTOR
        return self._large, self._sigma
