"""COCO's BBOB functions (Hansen et al. 2009), scaled for the optimizers and instrumented."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from craft_zoo.errors import CraftZooError, needs_extra


class Kind(NamedTuple):
    """A suite of COCO: its functions, and properties that all of them have.

    Attributes:
        functions: numbers of the functions.
        dimensions: numbers of variables that a function may have.
        facts: properties of the functions, as options of ``auto``.
    """

    functions: range
    dimensions: Sequence[int]
    facts: dict[str, bool]


SUITES = {
    "bbob": Kind(range(1, 25), range(2, 41), {}),  # cocoex crashes at some larger dimension
    "bbob-noisy": Kind(range(101, 131), (2, 3, 5, 10, 20, 40), {"noisy": True}),
    "bbob-largescale": Kind(range(1, 25), (20, 40, 80, 160, 320, 640), {}),
    "bbob-mixint": Kind(range(1, 25), (5, 10, 20, 40, 80, 160), {"rounded": True}),
}
"""COCO's suites of one objective without constraints, by name."""

_INSTANCES = 15  # instances of a function, except in bbob, where there is no limit
_MEDIAN_OF = 31  # evaluations of a noisy function, whose median stands for its true value
_BEST = "._bbob_problem_best_parameter.txt"  # file in which cocoex writes the best point

TARGETS = 10.0 ** (np.arange(10, -41, -1) / 5)
"""(51,) COCO's precisions from 10^2 down to 10^-8, evenly spread on the log scale."""

GROUPS = {
    "separable": range(1, 6),
    "moderate": range(6, 10),
    "ill-conditioned": range(10, 15),
    "multimodal": range(15, 20),
    "weak structure": range(20, 25),
    "moderate noise": range(101, 107),
    "severe noise": range(107, 122),
    "multimodal, severe noise": range(122, 131),
}
"""The functions' groups, by name."""

# The optimizers start at the origin with steps of about 1, and BBOB's optima lie in [-5, 5]^d.
_SCALE = 2.0


class Problem:
    """One instance of a function, evaluated at the middle of its domain plus a fifth of its width
    times z: at ``x = 2 z`` in bbob, whose domain is [-5, 5]^d.

    cocoex rounds the variables of bbob-mixint that are whole numbers. For bbob-noisy it gives only
    noisy values, so the precision is computed from the median of 31 further evaluations, which are
    not counted. The median is near the value without noise where the noise is normal (101, 104, …)
    or Cauchy (103, 106, …), and above it where the noise is uniform (102, 105, …). The noise is the
    same for each problem that is made, if no other is made in between.

    Args:
        function: 1 to 24; 101 to 130 in bbob-noisy.
        instance: at least 1; determines the function's shift and rotation.
        dimension: d, one of the suite's.
        suite: one of :data:`SUITES`.

    Attributes:
        evaluations: number of evaluations so far.
        precision: f - f_opt of the best point so far.
        reached: (51,) number of evaluations after which each of :data:`TARGETS` was first reached;
            inf if not reached.
        facts: properties of the function, as options of ``auto``.

    Raises:
        CraftZooError: a number is out of range, or cocoex is not installed.
    """

    def __init__(self, function: int, instance: int, dimension: int, suite: str = "bbob") -> None:
        check(function, instance, dimension, suite)
        self.dimension, self.facts = dimension, SUITES[suite].facts
        self._middle, self._scale = np.zeros(dimension), np.full(dimension, _SCALE)
        cocoex = load_cocoex()
        if suite == "bbob":
            self._evaluate = cocoex.BareProblem(suite, function, dimension, instance)
            self._optimum = float(self._evaluate.best_value())
        else:
            self._open(cocoex, suite, function, instance)
        self.evaluations = 0
        self.precision = np.inf
        self.reached = np.full(len(TARGETS), np.inf)
        self._next = 0  # index of the first target not reached

    def _open(self, cocoex: ModuleType, suite: str, function: int, instance: int) -> None:
        """Open a problem that cocoex offers only as a part of its suite."""
        index = function - SUITES[suite].functions[0] + 1
        wanted = f"dimensions:{self.dimension} function_indices:{index} instance_indices:{instance}"

        def made() -> Any:
            self._suite = cocoex.Suite(suite, "", wanted)  # kept, as its problems need it
            return self._suite.get_problem(0)

        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            problem = made()
            problem._best_parameter("print")
            self._evaluate = problem
            self._optimum = self._undisturbed(np.loadtxt(Path(folder) / _BEST))
        self._evaluate = made()  # opened again, so that its noise starts anew
        low, high = self._evaluate.lower_bounds, self._evaluate.upper_bounds
        self._middle, self._scale = (low + high) / 2, (high - low) / 5

    def _undisturbed(self, x: np.ndarray) -> float:
        count = _MEDIAN_OF if self.facts.get("noisy") else 1
        return float(np.median([self._evaluate(x) for _ in range(count)]))

    @property
    def solved(self) -> bool:
        """Whether the last target, 10^-8, was reached."""
        return self._next == len(TARGETS)

    @property
    def last_target(self) -> float:
        """The value of f at which :attr:`solved` becomes true."""
        return self._optimum + float(TARGETS[-1])

    def __call__(self, z: np.ndarray) -> float:
        """Evaluate f; z is (d,)."""
        x = self._middle + self._scale * z
        value = float(self._evaluate(x))
        self.evaluations += 1
        precision = (self._undisturbed(x) if self.facts.get("noisy") else value) - self._optimum
        if precision < self.precision:
            self.precision = precision
            while not self.solved and precision <= TARGETS[self._next]:
                self.reached[self._next] = self.evaluations
                self._next += 1
        return value


def check(function: int, instance: int, dimension: int, suite: str = "bbob") -> None:
    """Validate a problem's numbers, as cocoex would terminate the process on invalid ones.

    Raises:
        CraftZooError: the suite is unknown, or a number is out of range.
    """
    if suite not in SUITES:
        raise CraftZooError(f"there is no suite {suite!r}: choose from {', '.join(SUITES)}")
    functions, dimensions, _ = SUITES[suite]
    if function not in functions:
        first, last = functions[0], functions[-1]
        raise CraftZooError(f"{suite} has no function {function}: choose from {first} to {last}")
    most = np.inf if suite == "bbob" else _INSTANCES
    if not 1 <= instance <= most:
        there = "they are counted from 1" if suite == "bbob" else f"choose from 1 to {most}"
        raise CraftZooError(f"{suite} has no instance {instance}: {there}")
    if dimension not in dimensions:
        which = f"2 to {dimensions[-1]}" if suite == "bbob" else ", ".join(map(str, dimensions))
        raise CraftZooError(f"{suite}'s functions have {which} dimensions, not {dimension}")


def load_cocoex() -> ModuleType:
    """Import cocoex, COCO's experimentation package.

    Raises:
        CraftZooError: cocoex is not installed.
    """
    with needs_extra("bbob", "the suite of BBOB functions"):
        import cocoex
    return cocoex
