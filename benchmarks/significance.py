"""Statistical comparison of methods over all tasks: intervals, paired differences, ranks.

Follows Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(2021; interquartile means, bootstrap stratified by task, probability of improvement) and Demšar,
"Statistical Comparisons of Classifiers over Multiple Data Sets" (2006; signed ranks, Friedman's
test, critical difference). The tests and distributions are SciPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from craft_zoo.benchmarks.statistics import CONFIDENCE, area_under_curve, central_interval, resample

TASK = ["dataset", "shots"]
DIGITS = 9  # of scores: smaller differences are rounding errors, which would break ties
Measure = Literal["accuracy", "area"]


def score_table(points: pd.DataFrame, measure: Measure = "accuracy") -> pd.DataFrame:
    """One score in [0, 1] per run: one row per task and seed, one column per label.

    Args:
        points: as from :func:`craft_zoo.benchmarks.tidy`.
        measure: final ``accuracy``, or ``area`` under the curve.

    Returns:
        Scores with index dataset, shots, seed; NaN where a method was not run.
    """

    def score(curve: pd.DataFrame) -> float:
        curve = curve.sort_values("queries", kind="stable")
        if measure == "area":
            return area_under_curve(curve)
        return float(curve["accuracy"].iloc[-1])

    keys = [*TASK, "seed", "label"]
    rows = {key: score(curve) for key, curve in points.groupby(keys, sort=False)}
    table = pd.Series(rows).rename_axis(keys).unstack("label")
    order = points.drop_duplicates("label")["label"]
    return table[list(order)]


# The interquartile mean, of the middle half of the values, is less sensitive to outliers than the
# mean and statistically more efficient than the median.
_STATISTICS: dict[str, Callable[..., np.ndarray]] = {
    "mean": np.mean,
    "median": np.median,
    "iqm": partial(stats.trim_mean, proportiontocut=0.25),
}


def aggregate(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean, median and interquartile mean of each method over all tasks and seeds.

    Args:
        scores: as from :func:`score_table`; rows with a missing method are dropped.

    Returns:
        One row per label with ``runs``, and for each statistic its value, ``_low`` and ``_high``
        (95 % interval by bootstrap of the seeds within each task; NaN below 5 seeds) and
        ``_singles`` (tuple of the statistic over the tasks, one value per seed).
    """
    whole = scores.dropna()
    drawn = _resamples(whole)
    seeds = list(whole.groupby(level="seed").indices.values())
    rows = []
    for label in whole:
        values = whole[label].to_numpy()
        row: dict[str, object] = {"label": label, "runs": len(values)}
        for name, statistic in _STATISTICS.items():
            row[name] = float(statistic(values)) if len(values) else np.nan
            low = high = np.nan
            if drawn is not None:
                low, high = map(float, central_interval(statistic(values[drawn], axis=1)))
            row |= {f"{name}_low": low, f"{name}_high": high}
            row[f"{name}_singles"] = tuple(float(statistic(values[places])) for places in seeds)
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of a method ``other`` with a method ``base``.

    Attributes:
        pairs: number of pairs of runs on the same task and seed.
        difference: mean of ``other`` minus ``base`` over the pairs, in [-1, 1].
        low, high: 95 % interval, by bootstrap of the seeds within each task; NaN below 5 seeds.
        singles: mean difference over the tasks, one value per seed.
        wins: share of the pairs in which ``other`` scores higher; ties count half.
        p: p-value of the two-sided Wilcoxon signed-rank test; 1 if all pairs are ties.
        least_p: smallest p-value that this number of pairs can give.
    """

    pairs: int
    difference: float
    low: float
    high: float
    singles: tuple[float, ...]
    wins: float
    p: float
    least_p: float


def compare(scores: pd.DataFrame, base: str, other: str) -> Comparison:
    """Compare two methods, paired by task and seed.

    Args:
        scores: as from :func:`score_table`.
        base: label of the baseline.
        other: label of the method compared with it.
    """
    both = scores[[base, other]].dropna()
    differences = (both[other] - both[base]).to_numpy().round(DIGITS)
    drawn = _resamples(both)
    low = high = np.nan
    if drawn is not None:
        low, high = map(float, central_interval(differences[drawn].mean(axis=1)))
    seeds = both.groupby(level="seed").indices.values() if len(both) else ()
    return Comparison(
        pairs=len(both),
        difference=float(differences.mean()) if len(both) else np.nan,
        low=low,
        high=high,
        singles=tuple(float(differences[places].mean()) for places in seeds),
        wins=float(np.mean((np.sign(differences) + 1) / 2)) if len(both) else np.nan,
        p=float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0,
        least_p=min(1.0, 2.0 ** (1 - len(both))),
    )


def compare_all(scores: pd.DataFrame, base: str) -> pd.DataFrame:
    """Compare every other method with ``base``.

    Returns:
        One row per other label: the fields of :class:`Comparison`, and ``corrected``, the p-value
        corrected for multiple comparisons (Holm 1979).
    """
    others = [label for label in scores.columns if label != base]
    rows = [{"label": other, **vars(compare(scores, base, other))} for other in others]
    table = pd.DataFrame(rows)
    if len(table):
        table["corrected"] = holm(table["p"].to_numpy())
    return table


def p_in_words(p: float) -> str:
    """A p-value as text: ``p = 0.031``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def holm(p: np.ndarray) -> np.ndarray:
    """Correct (n,) p-values for multiple comparisons by Holm's step-down procedure (1979)."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    corrected = np.empty_like(p, dtype=float)
    corrected[order] = np.minimum(steps, 1)
    return corrected


@dataclass(frozen=True)
class Ranks:
    """Average ranks of methods over tasks (1 is the best), and a test of their equality.

    Attributes:
        ranks: average rank by label.
        tasks: number of tasks.
        chi_square: Friedman's statistic as in Demšar (2006), not corrected for ties.
        f: the less conservative F statistic of Iman and Davenport (1980).
        p: p-value of ``f``.
        critical_difference: least difference of average ranks that is significant at 5 %
            (Nemenyi 1963).
    """

    ranks: pd.Series
    tasks: int
    chi_square: float
    f: float
    p: float
    critical_difference: float


def rank(scores: pd.DataFrame) -> Ranks:
    """Rank methods on each task by their mean over the seeds.

    Args:
        scores: as from :func:`score_table`; tasks with a missing method are dropped.
    """
    means = scores.groupby(level=[level for level in scores.index.names if level != "seed"])
    table = means.mean().dropna().round(DIGITS)
    n, k = table.shape
    ranks = table.rank(axis=1, ascending=False).mean()
    chi_square = 12 * n / (k * (k + 1)) * (float((ranks**2).sum()) - k * (k + 1) ** 2 / 4)
    rest = n * (k - 1) - chi_square
    f = (n - 1) * chi_square / rest if rest > 0 else np.inf
    quantile = stats.studentized_range.ppf(CONFIDENCE, k, np.inf) / np.sqrt(2)
    return Ranks(
        ranks=ranks.sort_values(),
        tasks=n,
        chi_square=chi_square,
        f=f,
        p=float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))) if n > 1 else np.nan,
        critical_difference=float(quantile * np.sqrt(k * (k + 1) / (6 * n))) if n else np.nan,
    )


def _resamples(scores: pd.DataFrame) -> np.ndarray | None:
    """Bootstrap indices of rows, stratified by task; see :func:`resample`."""
    if not len(scores):
        return None
    return resample(list(scores.reset_index()[TASK].groupby(TASK, sort=False).indices.values()))
