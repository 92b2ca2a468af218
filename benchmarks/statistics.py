"""Learning curves and summaries over seeds, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from craft_zoo.benchmarks.grid import RunSpec, label_runs
from craft_zoo.benchmarks.names import DatasetName, name_datasets
from craft_zoo.benchmarks.store import COST_COLUMNS, USAGE_COLUMNS, Point
from craft_zoo.methods import is_white_box, values_of

CONFIDENCE = 0.95
ENOUGH_SEEDS = 5
"""Minimum number of seeds per task for intervals; with fewer, the single seeds are shown."""

INTERVAL = "95 % bootstrap interval over seeds and tasks"
SINGLE_SEEDS = f"below {ENOUGH_SEEDS} seeds no interval, but the single seeds"
SPREAD = f"{INTERVAL}; {SINGLE_SEEDS}"
"""Description of the intervals, shown with all tables and plots."""

_RESAMPLES = 2000
_SEED = 0  # of the bootstrap, so that equal results give equal intervals
# Tracks, by what a deployed image needs: predictions of the model, its vectors, or features that
# are computed here.
ONE_PREDICTION, ANCHORS, VECTORS, LOCAL = "one prediction", "anchors", "vectors", "local features"

_RUN_COLUMNS = ["model", "method", "optimizer", "shots", "budget"]
_CURVE_KEY = ["dataset", "shots", "label"]


def tidy(
    curves: Mapping[RunSpec, Sequence[Point]],
    names: Mapping[RunSpec, str] | None = None,
    datasets: Mapping[RunSpec, DatasetName] | None = None,
) -> pd.DataFrame:
    """Long-format table: one row per measured point, with the fields of its run.

    ``dataset`` and ``data_name`` are the key and the display name of the data set, see
    :class:`craft_zoo.benchmarks.names.DatasetName`.

    Args:
        curves: the points of every run.
        names: of variants, for their ``label``; see :func:`label_runs`.
        datasets: names of the data sets; by default :func:`name_datasets` of these runs.
    """
    rows = []
    labels = label_runs(curves, names)
    datasets = datasets or name_datasets(curves)
    for run, points in curves.items():
        about = {column: getattr(run, column) for column in _RUN_COLUMNS}
        about |= {"dataset": datasets[run].key, "data_name": datasets[run].name}
        about |= {"label": labels[run], "seed": run.seed, "needs": _needs(run)}
        rows += [about | vars(point) for point in points]
    return pd.DataFrame(rows)


def _needs(run: RunSpec) -> str:
    """The track of a run that needs more than predictions; "" for others."""
    if run.method == "local" or values_of(run.method, run.config).get("local"):
        return LOCAL
    return VECTORS if run.method in ("vectors", "lfa") else ""


def resample(groups: Sequence[np.ndarray]) -> np.ndarray | None:
    """Bootstrap indices: for each task, its seeds drawn with replacement.

    Args:
        groups: for each task, the indices in 0..n-1 of its runs (one per seed).

    Returns:
        (resamples, n) indices; None if a task has fewer than :data:`ENOUGH_SEEDS` seeds.
    """
    if not groups or min(map(len, groups)) < ENOUGH_SEEDS:
        return None
    rng = np.random.default_rng(_SEED)
    drawn = np.empty((_RESAMPLES, sum(map(len, groups))), dtype=np.int64)
    for places in groups:
        drawn[:, places] = places[rng.integers(len(places), size=(_RESAMPLES, len(places)))]
    return drawn


def central_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 2.5 % and 97.5 % quantiles along the last axis."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=-1)
    return low, high


def mean_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means over seeds and their 95 % bootstrap intervals; NaN limits for fewer than 5 seeds.

    Args:
        values: (..., n) one value per seed, in the order of the seeds.

    Returns:
        Mean, lower and upper limit, each of shape (...).
    """
    values = np.asarray(values, dtype=np.float64)
    means = values.mean(axis=-1)
    drawn = resample([np.arange(values.shape[-1])])
    if drawn is None:
        return means, np.full_like(means, np.nan), np.full_like(means, np.nan)
    shares = np.stack([np.bincount(row, minlength=drawn.shape[1]) for row in drawn])
    return means, *central_interval(values @ (shares.T / drawn.shape[1]))


def track_of(points: pd.DataFrame) -> str:
    """The track of a curve's points, by what a deployed image needs; see :func:`average_curves`."""
    track = ANCHORS if (points["image_predictions"] > 1).any() else ONE_PREDICTION
    return points["needs"].iloc[0] or track


def average_curves(points: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy and spread over seeds at every number of queries that any seed measured.

    Between two points of a seed, the accuracy is the earlier point's, as its solution would be
    deployed.

    Args:
        points: as from :func:`tidy`.

    Returns:
        Columns dataset, data_name, shots, label, track (``one prediction`` or ``anchors``, by
        predictions per deployed image; ``vectors`` or ``local features``, if it needs them),
        white_box, queries, cost (mean price of search and refiner so far; NaN if a seed's is
        unknown), accuracy, low, high (see :func:`mean_interval`), singles (tuple of each seed's
        accuracy).
    """
    rows = []
    for key, group in points.groupby(_CURVE_KEY, sort=False):
        by_seed = _by_seed(group, "accuracy").dropna()
        costs = _by_seed(group, "cost").loc[by_seed.index].mean(axis=1, skipna=False)
        white_box = is_white_box(group["method"].iloc[0])
        about = (*key, group["data_name"].iloc[0], track_of(group), white_box)
        values = by_seed.to_numpy()
        for queries, cost, *spread, singles in zip(
            by_seed.index, costs, *mean_interval(values), values, strict=True
        ):
            rows.append((*about, queries, cost, *spread, tuple(singles)))
    columns = [*_CURVE_KEY, "data_name", "track", "white_box"]
    columns += ["queries", "cost", "accuracy", "low", "high", "singles"]
    return pd.DataFrame(rows, columns=columns)


def priced(curves: pd.DataFrame) -> pd.Series:
    """Mask of the rows of labels whose cost is known at each of their rows.

    Args:
        curves: as from :func:`average_curves`.
    """
    return curves["cost"].notna().groupby([curves[key] for key in _CURVE_KEY]).transform("all")


def _by_seed(curve: pd.DataFrame, value: str) -> pd.DataFrame:
    """A value of a curve's points, one column per seed, at every number of queries of any seed."""
    last = curve.groupby(["queries", "seed"])[value].last()
    return last.unstack("seed").ffill()


def with_front(ends: pd.DataFrame, cost: str, least: float = 0.0) -> pd.DataFrame:
    """Rows in the order of their cost, with a column ``front``.

    It says that a row's ``accuracy`` is above that of every other row of at most its cost.

    Args:
        ends: with a column ``accuracy``.
        cost: name of the column of costs.
        least: by how much it has to be above.
    """
    ordered = ends.sort_values([cost, "accuracy"], ascending=[True, False])
    best = ordered["accuracy"].cummax().shift(fill_value=-1.0)
    return ordered.assign(front=ordered["accuracy"] > best + least)


def area_under_curve(curve: pd.DataFrame) -> float:
    """Mean of a run's step curve of accuracy over the queries 0 to its budget.

    Each point's accuracy holds until the next point. The first point's also holds before it.

    Args:
        curve: the run's points in the order of their queries, as from :func:`tidy`.
    """
    budget = curve["budget"].iloc[0]
    edges = np.append(curve["queries"], budget).astype(float)
    edges[0] = 0
    return float((np.diff(edges) * curve["accuracy"].to_numpy()).sum() / budget)


def last_points(points: pd.DataFrame) -> pd.DataFrame:
    """Each run's last point.

    Args:
        points: as from :func:`tidy`.
    """
    ordered = points.sort_values("queries", kind="stable")
    return ordered.groupby([*_CURVE_KEY, "seed"], sort=False).tail(1)


def summarize(points: pd.DataFrame) -> pd.DataFrame:
    """One row per curve: final accuracy, area under the curve and costs, over seeds.

    Args:
        points: as from :func:`tidy`.

    Returns:
        Columns dataset, data_name, shots, label, method, optimizer, seeds (their number);
        queries, image_predictions, search_predictions, refiner_predictions, seconds, and what was
        billed, see :class:`~craft_zoo.benchmarks.store.Point` (means over seeds at the last point;
        NaN if a seed's is unknown); accuracy, low, high, singles and area, area_low, area_high,
        area_singles (:func:`area_under_curve`): means and limits as from :func:`mean_interval`,
        and tuples of one value per seed.
    """
    rows = []
    for _, group in points.groupby(_CURVE_KEY, sort=False):
        ends = last_points(group)
        accuracies = ends.sort_values("seed")["accuracy"].to_numpy()
        ordered = group.sort_values("queries", kind="stable")
        areas = np.array([area_under_curve(curve) for _, curve in ordered.groupby("seed")])
        mean, low, high = map(float, mean_interval(accuracies))
        area, area_low, area_high = map(float, mean_interval(areas))
        about = ["dataset", "data_name", "shots", "label", "method", "optimizer"]
        row = group.iloc[0][about].to_dict()
        row |= {"seeds": len(ends), "queries": ends["queries"].mean()}
        row |= {"accuracy": mean, "low": low, "high": high, "singles": tuple(accuracies)}
        row |= {"area": area, "area_low": area_low, "area_high": area_high}
        row["area_singles"] = tuple(areas)
        costs = ["image_predictions", "search_predictions", "refiner_predictions", "seconds"]
        costs += [*USAGE_COLUMNS, *COST_COLUMNS]
        rows.append(row | {name: ends[name].mean(skipna=False) for name in costs})
    return pd.DataFrame(rows)


def spread(low: float, high: float, singles: Sequence[float], sign: str = "") -> str:
    """Format an interval in percent, or the single seeds; "" for one seed.

    Args:
        low: lower limit, a fraction; NaN where there are too few seeds.
        high: upper limit.
        singles: value of each seed.
        sign: ``+`` for differences.
    """
    if low == low:
        return f"{100 * low:{sign}.1f} to {100 * high:{sign}.1f}"
    return ", ".join(f"{100 * value:{sign}.1f}" for value in singles) if len(singles) > 1 else ""


def few_seeds_warning(points: pd.DataFrame) -> str:
    """Warning that a task has too few seeds for an interval; "" if every task has enough.

    Args:
        points: with columns dataset, shots, seed and, for several curves per task, label.
    """
    keys = [key for key in _CURVE_KEY if key in points]
    least = int(points.groupby(keys)["seed"].nunique().min())
    if least >= ENOUGH_SEEDS:
        return ""
    have = "One seed gives no spread" if least == 1 else f"Only {least} seeds"
    mend = f"For intervals, bench with {ENOUGH_SEEDS} seeds (--seeds)."
    return f"{have}; {SINGLE_SEEDS} are shown. {mend}"
