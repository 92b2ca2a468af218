"""Runtimes over targets: their distribution (ECDF), and its area with bootstrap intervals.

A table of runtimes has one row for each (solver, function, instance, target), with the columns
:data:`COLUMNS`; ``evaluations`` is inf where the target was not reached within the budget.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from craft_zoo.benchmarks.bbob.problems import TARGETS
from craft_zoo.benchmarks.bbob.solvers import Solver
from craft_zoo.benchmarks.statistics import central_interval

COLUMNS = {
    "solver": str,
    "function": int,
    "instance": int,
    "dimension": int,
    "budget": int,
    "target": float,
    "evaluations": float,
}

_RESAMPLES = 1000


def ecdf(runtimes: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The share of (function, instance, target) reached by one solver, as a step function.

    Returns:
        (k,) ascending evaluations per dimension, and (k,) the shares reached by then. The first
        corner is at 1 evaluation per dimension (the start of the axis), the last at the budget.
    """
    dimension, budget = runtimes["dimension"].iloc[0], runtimes["budget"].iloc[0]
    per_dimension = np.sort(runtimes["evaluations"].to_numpy() / dimension)
    reached = per_dimension[np.isfinite(per_dimension)]
    at = np.unique(np.concatenate([[1.0, budget / dimension], reached[reached > 1]]))
    return at, np.searchsorted(per_dimension, at, side="right") / len(per_dimension)


def areas(runtimes: pd.DataFrame) -> pd.Series:
    """The area under the ECDF of one solver on each problem.

    The area is on the log axis from 1 evaluation per dimension to the budget, divided by the axis
    length: 1 if every target was reached within 1 evaluation per dimension, 0 if none was reached.
    The mean over problems is the area under their common ECDF.

    Returns:
        One value in [0, 1] per problem, with index (function, instance).
    """
    width = np.log10(runtimes["budget"] / runtimes["dimension"])
    used = np.log10((runtimes["evaluations"] / runtimes["dimension"]).clip(lower=1))
    left = (1 - used / width).clip(lower=0)
    return left.groupby([runtimes["function"], runtimes["instance"]]).mean()


def mean_bootstrap(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval of (n,) values of problems; NaN limits for a single one."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, np.nan, np.nan
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(_RESAMPLES, len(values)))].mean(axis=1)
    low, high = central_interval(means)
    return mean, float(low), float(high)


def summarize(runtimes: pd.DataFrame) -> pd.DataFrame:
    """One row per solver, by descending area.

    Returns:
        Columns solver, problems, solved (problems whose last target was reached), area, low, high.
    """
    rows = []
    for solver, group in runtimes.groupby("solver", sort=False):
        last = group[np.isclose(group["target"], TARGETS[-1], rtol=1e-6, atol=0)]
        solved = int(np.isfinite(last["evaluations"]).sum())
        rows.append((solver, len(last), solved, *mean_bootstrap(areas(group).to_numpy())))
    table = pd.DataFrame(rows, columns=["solver", "problems", "solved", "area", "low", "high"])
    return table.sort_values("area", ascending=False, kind="stable", ignore_index=True)


def compare(runtimes: pd.DataFrame, solvers: Sequence[Solver]) -> pd.DataFrame:
    """Difference in area between each optimizer and its bare library, paired by problem.

    Args:
        runtimes: of all ``solvers``.
        solvers: all solvers that were run; those without a counterpart are ignored.

    Returns:
        Columns optimizer, area, bare, difference, low, high, identical (problems on which both
        reached every target at the same evaluation), problems.
    """
    columns = ["optimizer", "area", "bare", "difference", "low", "high", "identical", "problems"]
    rows = []
    for solver in solvers:
        bare = Solver(solver.spec, bare=True)
        if solver.bare or bare not in solvers:
            continue
        ours, theirs = (runtimes[runtimes["solver"] == name] for name in (solver.name, bare.name))
        area, area_bare = areas(ours), areas(theirs)
        interval = mean_bootstrap((area - area_bare).to_numpy())
        key = ["function", "instance", "target"]
        both = ours.merge(theirs, on=key, suffixes=("", "_bare"))
        same = both["evaluations"] == both["evaluations_bare"]
        identical = int(same.groupby([both["function"], both["instance"]]).all().sum())
        rows.append((solver.spec, area.mean(), area_bare.mean(), *interval, identical, len(area)))
    return pd.DataFrame(rows, columns=columns)
