"""Constraints g(x) ≤ 0: their evaluation, and the losses that make an optimizer keep them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from craft_zoo.optimizers.auto import popsize
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.losses import unmasked


def checked(constraints: Any) -> tuple[Callable[[Any], Any], ...]:
    """The functions of ``constraints``: one, or several.

    Raises:
        OptimizerError: they are no functions.
    """
    several = constraints if isinstance(constraints, Iterable) else [constraints]
    functions = tuple(several)
    for each in functions:
        if not callable(each):
            raise OptimizerError(
                f"constraints has {each!r:.100}, which is no function: give functions of x that "
                f"are at most 0 where x is feasible"
            )
    return functions


class Constrained:
    """A function with its constraints, evaluated together; it can be sent to processes."""

    def __init__(
        self, f: Callable[[Any], Any], constraints: tuple[Callable[[Any], Any], ...]
    ) -> None:
        self.f, self.constraints = f, constraints

    def __call__(self, x: Any) -> tuple[Any, np.ndarray]:
        """The value that ``f`` returns, and the values (m,) of all constraints."""
        values = [_numbers(g(x.copy())) for g in self.constraints]
        return self.f(x), np.concatenate(values)


def _numbers(value: Any) -> np.ndarray:
    """The values (m,) that a constraint returned."""
    try:
        if value is None:
            raise TypeError
        values = np.ravel(np.asarray(unmasked(value), np.float64))
    except (TypeError, ValueError):
        values = np.zeros(0)
    if not values.size:
        raise OptimizerError(
            f"a constraint returned {value!r:.100}: return a number or an array of numbers"
        )
    return values


class AugmentedLagrangian:
    """Losses plus λ g + μ g² / 2 for each constraint, with coefficients that adapt (pycma).

    They adapt, as in Atamna, Auger & Hansen (2017), to the best evaluation of each population.
    """

    def __init__(self, dim: int) -> None:
        from cma.constraints_handler import AugmentedLagrangian as Logged

        class Coefficients(Logged):
            def _init_(self) -> None:
                self.logging = 0  # it would make the folder outcmaes
                super()._init_()

        self._coefficients = Coefficients(dim)
        self._population = popsize(dim)
        self._losses: list[float] = []
        self._values: list[np.ndarray] = []

    def __call__(self, losses: list[float], values: list[np.ndarray]) -> list[float]:
        """The losses to be told, k for k evaluations; NaN where one failed."""
        good = [
            bool(np.isfinite(f) and np.isfinite(g).all())
            for f, g in zip(losses, values, strict=True)
        ]
        self._losses += [f for f, ok in zip(losses, good, strict=True) if ok]
        self._values += [g for g, ok in zip(values, good, strict=True) if ok]
        if len(self._losses) >= self._population:
            self._adapt()
        return [
            f + float(np.sum(self._coefficients(g))) if ok else np.nan
            for f, g, ok in zip(losses, values, good, strict=True)
        ]

    def _adapt(self) -> None:
        with warnings.catch_warnings(action="ignore"):
            if not self._coefficients.is_initialized:
                self._coefficients.set_coefficients(self._losses, self._values)
            sums = [
                f + float(np.sum(self._coefficients(g)))
                for f, g in zip(self._losses, self._values, strict=True)
            ]
            best = int(np.argmin(sums))
            self._coefficients.update(self._losses[best], self._values[best])
        self._losses, self._values = [], []
