"""Curves and summaries over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.store import Point

CONFIDENCE = 0.95

_RUN_COLUMNS = ["model", "dataset", "method", "optimizer", "shots", "budget"]
_CURVE_KEY = ["dataset", "shots", "label"]


def tidy(curves: Mapping[RunSpec, Sequence[Point]]) -> pd.DataFrame:
    """One row a measured point, with the run that it belongs to."""
    rows = []
    for run, points in curves.items():
        about = {column: getattr(run, column) for column in _RUN_COLUMNS}
        about |= {"label": run.label, "seed": run.seed}
        rows += [about | vars(point) for point in points]
    return pd.DataFrame(rows)


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and its 95 % Student-t interval; NaN limits for a single value.

    Args:
        values: (n,) one value a seed.
    """
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def average_curves(points: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy and interval over seeds at every number of queries that any seed measured.

    A seed's accuracy between two of its points is that of the earlier one: what would be deployed.

    Args:
        points: as from :func:`tidy`.

    Returns:
        Columns dataset, shots, label, queries, accuracy, low, high.
    """
    rows = []
    for key, group in points.groupby(_CURVE_KEY, sort=False):
        by_seed = group.pivot_table(
            index="queries", columns="seed", values="accuracy", aggfunc="last"
        )
        by_seed = by_seed.ffill().dropna()
        for queries, values in zip(by_seed.index, by_seed.to_numpy(), strict=True):
            mean, low, high = mean_interval(values)
            rows.append((*key, queries, mean, low, high))
    return pd.DataFrame(rows, columns=[*_CURVE_KEY, "queries", "accuracy", "low", "high"])


def summarize(points: pd.DataFrame) -> pd.DataFrame:
    """One row a curve: where it ended, over seeds.

    Args:
        points: as from :func:`tidy`.

    Returns:
        Columns dataset, shots, label, method, optimizer, seeds, queries, accuracy, low, high,
        search_predictions, refiner_predictions, seconds; means over seeds but for the first five.
    """
    last = points.sort_values("queries", kind="stable").groupby([*_CURVE_KEY, "seed"], sort=False)
    last = last.tail(1)
    rows = []
    for key, group in points.groupby(_CURVE_KEY, sort=False):
        ends = last
        for column, value in zip(_CURVE_KEY, key, strict=True):
            ends = ends[ends[column] == value]
        mean, low, high = mean_interval(ends["accuracy"].to_numpy())
        rows.append(
            {
                **dict(zip(_CURVE_KEY, key, strict=True)),
                "method": group["method"].iloc[0],
                "optimizer": group["optimizer"].iloc[0],
                "seeds": len(ends),
                "queries": ends["queries"].mean(),
                "accuracy": mean,
                "low": low,
                "high": high,
                "search_predictions": ends["search_predictions"].mean(),
                "refiner_predictions": ends["refiner_predictions"].mean(),
                "seconds": ends["seconds"].mean(),
            }
        )
    return pd.DataFrame(rows)
