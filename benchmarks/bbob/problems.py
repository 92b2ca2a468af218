"""COCO's BBOB functions (Hansen et al. 2009), scaled for the optimizers and instrumented."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from craft_zoo.errors import CraftZooError, needs_extra

FUNCTIONS = 24
DIMENSIONS = range(2, 41)  # COCO's suite ends at 40; cocoex crashes at some larger dimension

TARGETS = 10.0 ** (np.arange(10, -41, -1) / 5)
"""(51,) COCO's precisions from 10^2 down to 10^-8, evenly spread on the log scale."""

GROUPS = {
    "separable": range(1, 6),
    "moderate": range(6, 10),
    "ill-conditioned": range(10, 15),
    "multimodal": range(15, 20),
    "weak structure": range(20, 25),
}
"""The functions' groups, by name."""

# The optimizers start at the origin with steps of about 1, and BBOB's optima lie in [-5, 5]^d.
_SCALE = 2.0


class Problem:
    """One instance of a function, evaluated at ``x = 2 z``.

    Args:
        function: 1 to 24.
        instance: at least 1; determines the function's shift and rotation.
        dimension: d, 2 to 40.

    Attributes:
        evaluations: number of evaluations so far.
        precision: f - f_opt of the best point so far.
        reached: (51,) number of evaluations after which each of :data:`TARGETS` was first reached;
            inf if not reached.

    Raises:
        CraftZooError: a number is out of range, or cocoex is not installed.
    """

    def __init__(self, function: int, instance: int, dimension: int) -> None:
        check(function, instance, dimension)
        self.dimension = dimension
        self._evaluate = load_cocoex().BareProblem("bbob", function, dimension, instance)
        self._optimum = float(self._evaluate.best_value())
        self.evaluations = 0
        self.precision = np.inf
        self.reached = np.full(len(TARGETS), np.inf)
        self._next = 0  # index of the first target not reached

    @property
    def solved(self) -> bool:
        """Whether the last target, 10^-8, was reached."""
        return self._next == len(TARGETS)

    @property
    def last_target(self) -> float:
        """The value of f at which :attr:`solved` becomes true."""
        return self._optimum + float(TARGETS[-1])

    def __call__(self, z: np.ndarray) -> float:
        """Evaluate f at ``2 z``; z is (d,)."""
        value = float(self._evaluate(_SCALE * z))
        self.evaluations += 1
        precision = value - self._optimum
        if precision < self.precision:
            self.precision = precision
            while not self.solved and precision <= TARGETS[self._next]:
                self.reached[self._next] = self.evaluations
                self._next += 1
        return value


def check(function: int, instance: int, dimension: int) -> None:
    """Validate a problem's numbers, as cocoex would terminate the process on invalid ones.

    Raises:
        CraftZooError: a number is out of range.
    """
    if not 1 <= function <= FUNCTIONS:
        raise CraftZooError(f"BBOB has no function {function}: choose from 1 to {FUNCTIONS}")
    if instance < 1:
        raise CraftZooError(f"BBOB has no instance {instance}: they are counted from 1")
    if dimension not in DIMENSIONS:
        raise CraftZooError(f"BBOB's functions have 2 to 40 dimensions, not {dimension}")


def load_cocoex() -> ModuleType:
    """Import cocoex, COCO's experimentation package.

    Raises:
        CraftZooError: cocoex is not installed.
    """
    with needs_extra("bbob", "the suite of BBOB functions"):
        import cocoex
    return cocoex
