"""Shares of runs that score above a threshold, or reach a target within a budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

_TARGETS = 20  # per task


def performance_profile(scores: pd.DataFrame, thresholds: Sequence[float]) -> pd.DataFrame:
    """Share of each method's runs that score above a threshold.

    Performance profiles as in Agarwal et al. 2021 (after Dolan & Moré 2002): a curve that lies
    above another everywhere means stochastic dominance of its method.

    Args:
        scores: as from :func:`score_table`; rows with a missing method are dropped.
        thresholds: in [0, 1].

    Returns:
        Index ``threshold``, one column per label.
    """
    values = scores.dropna().to_numpy()
    shares = (values[None] > np.asarray(thresholds)[:, None, None]).mean(axis=1)
    index = pd.Index(thresholds, name="threshold")
    return pd.DataFrame(shares, index=index, columns=scores.columns)


def default_targets(points: pd.DataFrame) -> dict[tuple, np.ndarray]:
    """Target accuracies of each task, evenly spaced from the lowest initial to the highest one.

    The lowest initial accuracy itself is not a target.

    Args:
        points: as from :func:`craft_zoo.benchmarks.tidy`.
    """
    targets = {}
    for task, group in points.groupby(["dataset", "shots"], sort=False):
        ordered = group.sort_values("queries", kind="stable").groupby(["label", "seed"])
        low, high = ordered["accuracy"].first().min(), ordered["accuracy"].max().max()
        targets[task] = np.linspace(low, high, _TARGETS + 1)[1:]
    return targets


def runtimes(points: pd.DataFrame, targets: dict[tuple, np.ndarray] | None = None) -> pd.DataFrame:
    """Queries after which each run first reached each target (COCO's runtimes, Hansen et al. 2021).

    Args:
        points: as from :func:`craft_zoo.benchmarks.tidy`.
        targets: (dataset, shots) → accuracies; by default :func:`default_targets`.

    Returns:
        Columns dataset, shots, label, seed, target, queries (infinity: never).
    """
    targets = default_targets(points) if targets is None else targets
    rows = []
    keys = ["dataset", "shots", "label", "seed"]
    for key, curve in points.sort_values("queries", kind="stable").groupby(keys, sort=False):
        best = np.maximum.accumulate(curve["accuracy"].to_numpy())
        queries = np.append(curve["queries"].to_numpy(dtype=float), np.inf)
        for target in targets[key[:2]]:
            rows.append((*key, target, queries[np.searchsorted(best, target)]))
    return pd.DataFrame(rows, columns=[*keys, "target", "queries"])


def reached(times: pd.DataFrame, queries: Sequence[float]) -> pd.DataFrame:
    """Share of (run, target) pairs reached within each number of queries (COCO's ECDF).

    Args:
        times: as from :func:`runtimes`.
        queries: numbers of queries to evaluate at.

    Returns:
        Index ``queries``, one column per label.
    """
    index = pd.Index(queries, name="queries")
    shares = {
        label: [(group["queries"] <= limit).mean() for limit in queries]
        for label, group in times.groupby("label", sort=False)
    }
    return pd.DataFrame(shares, index=index)
