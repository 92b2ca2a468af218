"""IPOP and BIPOP restarts: population and step size of the next run after convergence."""

from __future__ import annotations

from typing import Literal

import numpy as np

Policy = Literal["none", "ipop", "bipop"]

_FACTOR = 2  # by which IPOP enlarges the population
_FEW = 10  # generations of a doubled population that the remaining budget must allow


class Restarts:
    """Chooses population and step size of all runs after the first.

    ``ipop``: each run has twice the population of the previous one (Auger & Hansen 2005).
    ``bipop``: IPOP's runs (regime "large") alternate with short runs of a smaller random population
    and step size ("small"). The regime that has used fewer evaluations is next (Hansen 2009, with
    the constants of pycma's ``fmin``).

    Args:
        policy: ``ipop`` or ``bipop``.
        popsize: λ of the first run.
        sigma: step size of the first run.
        rng: source of the random numbers of ``bipop``.
    """

    def __init__(
        self, policy: Policy, popsize: int, sigma: float, rng: np.random.Generator
    ) -> None:
        self._policy, self._popsize, self._sigma, self._rng = policy, popsize, sigma, rng
        self._large = popsize
        self._spent = {"large": 0, "small": 0}
        self._regime = "small"  # the regime to which pycma assigns the first run
        self._used, self._limit = 0, np.inf

    def count(self, evaluations: int) -> bool:
        """Add evaluations to the current run.

        Returns:
            Whether the run has reached its limit; only runs of regime "small" have one.
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
        # A larger population would get fewer than _FEW generations: too few to learn anything.
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
