"""Curves and summaries over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from craft_zoo.benchmarks.grid import RunSpec, label_runs
from craft_zoo.benchmarks.store import Point
from craft_zoo.methods import is_white_box

CONFIDENCE = 0.95
ONE_PREDICTION, ANCHORS = "one prediction", "anchors"  # tracks: what a deployed image costs

_RUN_COLUMNS = ["model", "dataset", "method", "optimizer", "shots", "budget"]
_CURVE_KEY = ["dataset", "shots", "label"]


def tidy(
    curves: Mapping[RunSpec, Sequence[Point]], names: Mapping[RunSpec, str] | None = None
) -> pd.DataFrame:
    """One row a measured point, with the run that it belongs to.

    Args:
        curves: the points of every run.
        names: of variants, for their ``label``; see :func:`label_runs`.
    """
    rows = []
    labels = label_runs(curves, names)
    for run, points in curves.items():
        about = {column: getattr(run, column) for column in _RUN_COLUMNS}
        about |= {"label": labels[run], "seed": run.seed}
        rows += [about | vars(point) for point in points]
    return pd.DataFrame(rows)


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of shares and its 95 % Student-t interval within [0, 1]; NaN limits for a single value.

    Args:
        values: (n,) one value in [0, 1] a seed.
    """
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def average_curves(points: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy and interval over seeds at every number of queries that any seed measured.

    A seed's accuracy between two of its points is that of the earlier one: what would be deployed.

    Args:
        points: as from :func:`tidy`.

    Returns:
        Columns dataset, shots, label, track (``one prediction`` or ``anchors``, by what a deployed
        image costs), white_box, queries, accuracy, low, high.
    """
    rows = []
    for key, group in points.groupby(_CURVE_KEY, sort=False):
        by_seed = group.pivot_table(
            index="queries", columns="seed", values="accuracy", aggfunc="last"
        )
        by_seed = by_seed.ffill().dropna()
        track = ANCHORS if (group["image_predictions"] > 1).any() else ONE_PREDICTION
        about = (*key, track, is_white_box(group["method"].iloc[0]))
        for queries, values in zip(by_seed.index, by_seed.to_numpy(), strict=True):
            rows.append((*about, queries, *mean_interval(values)))
    columns = [*_CURVE_KEY, "track", "white_box", "queries", "accuracy", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def area_under_curve(queries: np.ndarray, accuracy: np.ndarray, budget: int) -> float:
    """Mean accuracy over the queries 0 to ``budget``, of a step curve.

    What would be deployed between two points is the earlier one's solution; before the first point
    nothing was measured, and the first counts.

    Args:
        queries: (n,) ascending.
        accuracy: (n,).
        budget: where the axis ends; points beyond do not exist.
    """
    edges = np.append(queries, budget).astype(float)
    edges[0] = 0
    return float((np.diff(edges) * accuracy).sum() / budget)


def last_points(points: pd.DataFrame) -> pd.DataFrame:
    """Each run's last point.

    Args:
        points: as from :func:`tidy`.
    """
    ordered = points.sort_values("queries", kind="stable")
    return ordered.groupby([*_CURVE_KEY, "seed"], sort=False).tail(1)


def summarize(points: pd.DataFrame) -> pd.DataFrame:
    """One row a curve: where it ended and the area under it, over seeds.

    Args:
        points: as from :func:`tidy`.

    Returns:
        Columns dataset, shots, label, method, optimizer, seeds, queries, accuracy, low, high,
        area, area_low, area_high (:func:`area_under_curve`), image_predictions,
        search_predictions, refiner_predictions, seconds; means over seeds but for the first five.
    """
    last = last_points(points)
    rows = []
    for key, group in points.groupby(_CURVE_KEY, sort=False):
        ends = last
        for column, value in zip(_CURVE_KEY, key, strict=True):
            ends = ends[ends[column] == value]
        mean, low, high = mean_interval(ends["accuracy"].to_numpy())
        areas = [
            area_under_curve(
                curve["queries"].to_numpy(), curve["accuracy"].to_numpy(), curve["budget"].iloc[0]
            )
            for _, curve in group.sort_values("queries", kind="stable").groupby("seed")
        ]
        area, area_low, area_high = mean_interval(np.array(areas))
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
                "area": area,
                "area_low": area_low,
                "area_high": area_high,
                "image_predictions": ends["image_predictions"].mean(),
                "search_predictions": ends["search_predictions"].mean(),
                "refiner_predictions": ends["refiner_predictions"].mean(),
                "seconds": ends["seconds"].mean(),
            }
        )
    return pd.DataFrame(rows)
