"""The study's tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from craft_zoo.benchmarks.names import markdown_cell
from craft_zoo.benchmarks.statistics import average_curves, last_points, spread, summarize

MARKS = (1, 30, 100, 250, 500, 1000, 2000, 4000, 8000)
REFERENCE = "craft-released"  # whose end others are to reach
_BASE = "zero-shot"


def accuracy_table(points: pd.DataFrame, shots: int, marks: Sequence[int] = MARKS) -> pd.DataFrame:
    """Mean test accuracy in % after so many queries, with what each method costs.

    Args:
        points: as from :func:`craft_zoo.benchmarks.tidy`.
        shots: training images a class.
        marks: numbers of queries; those beyond a data set's largest budget give way to it.

    Returns:
        One row a data set and method, in order of the area under the curve: ``data set``,
        ``method``, a column a mark, ``95 % or seeds`` (at the end: its interval, or below 5
        seeds the single seeds), ``area``, ``reaches`` (queries after which the mean is what
        :data:`REFERENCE` ends at; NaN: never, or no reference),
        ``per image``, ``seconds``.
    """
    mine = points[points["shots"] == shots]
    curves, summary = average_curves(mine), summarize(mine)
    rows = []
    for dataset, ends in summary.groupby("dataset", sort=False):
        budget = int(mine[mine["dataset"] == dataset]["budget"].max())
        reference = ends.loc[ends["label"] == REFERENCE, "accuracy"]
        target = float(reference.iloc[0]) if len(reference) else np.inf
        for _, end in ends.sort_values("area", ascending=False, kind="stable").iterrows():
            curve = curves[(curves["dataset"] == dataset) & (curves["label"] == end["label"])]
            queries, accuracy = curve["queries"].to_numpy(), curve["accuracy"].to_numpy()
            there = queries[accuracy >= target]
            row = {"data set": end["data_name"], "method": end["label"]}
            for mark in (*(mark for mark in marks if mark < budget), budget):
                known = accuracy[queries <= mark]
                row[f"{mark:,}"] = 100 * known[-1] if len(known) else np.nan
            row |= {
                "95 % or seeds": spread(end["low"], end["high"], end["singles"]),
                "area": 100 * end["area"],
                "reaches": there[0] if len(there) else np.nan,
                "per image": end["image_predictions"],
                "seconds": end["seconds"],
            }
            rows.append(row)
    return pd.DataFrame(rows)


def shots_table(points: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in % at the end for each number of shots, and the worst run against zero-shot.

    Returns:
        One row a data set and method: ``data set``, ``method``, a column a number of shots, and
        ``worst`` of those: accuracy less zero-shot's, the least of all single runs.
    """
    ends = last_points(points)
    base = ends[ends["label"] == _BASE].set_index(["dataset", "shots", "seed"])["accuracy"]
    gained = ends.join(base.rename("base"), on=["dataset", "shots", "seed"])
    gained["gain"] = gained["accuracy"] - gained["base"]
    rows = []
    for (_, label), group in gained.groupby(["dataset", "label"], sort=False):
        means = group.groupby("shots")["accuracy"].mean()
        row = {"data set": group["data_name"].iloc[0], "method": label}
        row |= {f"{shots}": 100 * mean for shots, mean in means.items()}
        rows.append(row | {"worst": 100 * group["gain"].min()})
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame, digits: int = 1) -> str:
    """A table as Markdown, numbers rounded, nothing where a value is missing."""

    def text(value: object) -> str:
        if isinstance(value, float | np.floating):
            return "" if np.isnan(value) else f"{value:,.{digits}f}"
        return f"{value:,}" if isinstance(value, int | np.integer) else markdown_cell(str(value))

    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
    lines = [
        [markdown_cell(str(column)) for column in table.columns],
        ["--:" if number else "---" for number in numeric],
        *([text(value) for value in row] for row in table.itertuples(index=False)),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
