"""Tables of the report, for its pages and for LaTeX."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.names import DatasetName, markdown_cell
from craft_zoo.benchmarks.published import accuracies_for
from craft_zoo.benchmarks.significance import DIGITS, Ranks, aggregate, compare_all
from craft_zoo.benchmarks.statistics import last_points, priced, spread, summarize, with_front
from craft_zoo.blackbox.usage import short_amount
from craft_zoo.files import write_atomically
from craft_zoo.methods import is_white_box
from craft_zoo.printable import printable

SPREAD_COLUMN = "95 % interval, or each seed"  # each if there are fewer than 5
REFERENCE = "craft-released"  # baseline of comparisons, where it was run
_BASE = "zero-shot"
_ESCAPED = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {"<": "$<$", ">": "$>$", "|": r"\textbar{}"}  # LaTeX's own fonts have ¡, ¿ and — there
    | {"[": "{[}", "*": "{*}"}  # at the start of a row they belong to the \\ of the row before
)
_END = ("\\bottomrule", "\\end{tabular}", "")  # last lines of a table in LaTeX
_AMOUNTS = 6  # of money, in a table
MARKS = (1, 10, 100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000)


def accuracies(points: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy in % at several numbers of queries, spread at the end, and area under curve.

    The points and their average curves are of one task. One row per label, by descending area
    under the curve. If the method :data:`REFERENCE` was run, ``reaches`` holds the least queries at
    which the mean accuracy is at least the reference's final one on the same model (NaN: never).
    """
    budget = int(points["budget"].max())
    summary = summarize(points).sort_values("area", ascending=False)
    models = points.drop_duplicates("label").set_index("label")["model"]
    references = summary[summary["method"] == REFERENCE]
    targets = references["accuracy"].groupby(references["label"].map(models)).max()
    rows = []
    for _, end in summary.iterrows():
        curve = curves[curves["label"] == end["label"]]
        row: dict[str, Any] = {"method": end["label"]}
        for mark in (*(mark for mark in MARKS if mark < budget), budget):
            row[f"{mark:,}"] = _accuracy_at(curve, "queries", mark)
        row[SPREAD_COLUMN] = spread(end["low"], end["high"], end["singles"])
        row["area"] = 100 * end["area"]
        if len(targets):
            target = targets.get(models[end["label"]], np.nan)
            row["reaches"] = curve[curve["accuracy"] >= target]["queries"].min()
        row["queries"] = end["queries"]
        row["per image"] = end["image_predictions"]
        row["seeds"] = int(end["seeds"])
        rows.append(row)
    return pd.DataFrame(rows)


def by_price(curves: pd.DataFrame) -> pd.DataFrame | None:
    """Mean accuracy in % for several amounts of money, and at the end, with its price.

    Args:
        curves: average curves of one task; labels whose price is not known are left out.

    Returns:
        One row per label, by descending accuracy at the end; None if no label cost anything.
    """
    known = curves[priced(curves) & ~curves["white_box"]]
    if not (known["cost"] > 0).any():
        return None
    marks = _amounts(known["cost"][known["cost"] > 0].min(), known["cost"].max())
    rows = []
    for label, curve in known.groupby("label", sort=False):
        row: dict[str, Any] = {"method": label}
        for mark in marks:
            row[f"{mark:g}"] = _accuracy_at(curve, "cost", mark)
        row |= {"at the end": 100 * curve["accuracy"].iloc[-1], "price": curve["cost"].iloc[-1]}
        rows.append(row)
    return pd.DataFrame(rows).sort_values("at the end", ascending=False, kind="stable")


def _accuracy_at(curve: pd.DataFrame, against: str, mark: float) -> float:
    """Accuracy in % of a curve where the column ``against`` is at most ``mark``; NaN before it."""
    known = curve[curve[against] <= mark]["accuracy"]
    return 100 * known.iloc[-1] if len(known) else np.nan


def _amounts(least: float, most: float) -> list[float]:
    """Up to six amounts 1, 2 or 5 times a power of ten, from the smallest price to the largest."""
    exponents = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    round_ones = [float(f"{digit}e{exponent}") for exponent in exponents for digit in (1, 2, 5)]
    within = [mark for mark in round_ones if least <= mark < most]
    step = -(-len(within) // _AMOUNTS) if within else 1
    return within[::-step][::-1]


def by_shots(points: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy in % at the end of the budget for each number of shots.

    One row per data set and label: ``data set``, ``method``, one column per number of shots, and
    ``worst run``: the smallest gain over its model's zero-shot accuracy of any single run, in
    percentage points; NaN where zero-shot was not run.
    """
    ends = last_points(points)
    key = ["dataset", "shots", "seed", "model"]
    base = ends[ends["method"] == _BASE].drop_duplicates(key).set_index(key)["accuracy"]
    ends = ends.join(base.rename("base"), on=key)
    rows = []
    for (_, label), group in ends.groupby(["dataset", "label"], sort=False):
        row = {"data set": group["data_name"].iloc[0], "method": label}
        for shots, mean in group.groupby("shots")["accuracy"].mean().items():
            row[f"{shots}"] = 100 * mean
        rows.append(row | {"worst run": 100 * (group["accuracy"] - group["base"]).min()})
    table = pd.DataFrame(rows)
    shots = sorted((column for column in table if column.isdigit()), key=int)
    return table[["data set", "method", *shots, "worst run"]]


def overview(scores: pd.DataFrame, ranks: Ranks | None) -> pd.DataFrame:
    """Each method's interquartile mean, mean and median over all runs, in %, and average rank."""
    table = aggregate(scores).sort_values("iqm", ascending=False)
    shown = pd.DataFrame({"method": table["label"]})
    for name, title in (("iqm", "interquartile mean"), ("mean", "mean"), ("median", "median")):
        shown[title] = 100 * table[name]
        limits = table[[f"{name}_{end}" for end in ("low", "high", "singles")]].to_numpy()
        shown[f"{SPREAD_COLUMN}: {title}"] = [spread(*each) for each in limits]
    if ranks is not None:
        shown["average rank"] = table["label"].map(ranks.ranks)
    shown["runs"] = table["runs"]
    return shown.reset_index(drop=True)


def differences(scores: pd.DataFrame, base: str) -> pd.DataFrame:
    """Paired difference of every method from ``base``, in percentage points, with p-values."""
    table = compare_all(scores, base).sort_values("difference", ascending=False)
    limits = table[["low", "high", "singles"]].to_numpy()
    return pd.DataFrame(
        {
            "method": table["label"],
            f"minus {base}": 100 * table["difference"],
            SPREAD_COLUMN: [spread(low, high, singles, "+") for low, high, singles in limits],
            "ahead in (% of pairs)": 100 * table["wins"],
            "p": table["p"],
            "p, corrected": table["corrected"],
            "pairs": table["pairs"],
        }
    ).reset_index(drop=True)


def transfers(
    accuracies: Mapping[RunSpec, Mapping[str, float]],
    labels: Mapping[RunSpec, str],
    datasets: Mapping[RunSpec, DatasetName],
) -> pd.DataFrame:
    """Transfer of solutions to other data sets: mean accuracy over seeds in %.

    ``accuracies`` maps a run and a data set's name to the accuracy of the run's solution. One row
    per pair of data sets (names as given), shots and label.
    """
    rows = [
        (datasets[run].key, name, run.shots, labels[run], 100 * accuracy)
        for run, others in accuracies.items()
        for name, accuracy in others.items()
    ]
    columns = ["tuned on", "tried on", "shots", "method", "accuracy"]
    grouped = pd.DataFrame(rows, columns=columns).groupby(columns[:-1], sort=False)["accuracy"]
    return grouped.agg(accuracy="mean", seeds="size").reset_index()


def published(points: pd.DataFrame, tried: pd.DataFrame, models: Mapping[str, str]) -> pd.DataFrame:
    """Published accuracies beside the measured ones (``tried``: of :func:`transfers`), in %.

    One row per pair of a published accuracy and a measured label of the same task. ``models`` has
    the model of each label.
    """
    rows: list[dict[str, Any]] = []

    def add(known: pd.DataFrame, name: str, shots: int, ends: pd.DataFrame) -> None:
        for (_, other), (label, accuracy) in product(known.iterrows(), ends.to_numpy()):
            row = {"data set": name, "shots": shots, "published": other["method"]}
            row |= {"model": other["model"], "accuracy": 100 * other["accuracy"]}
            row |= {"measured": label, "its model": models[label], "its accuracy": accuracy}
            rows.append(row | {"access": other["access"], "note": other["note"]})

    for (dataset, shots), mine in points.groupby(["dataset", "shots"], sort=False):
        ends = summarize(mine)[["label", "accuracy"]]
        ends = ends.assign(accuracy=100 * ends["accuracy"])
        add(accuracies_for(str(dataset), int(shots)), mine["data_name"].iloc[0], shots, ends)
    for _, row in tried.iterrows():
        ends = pd.DataFrame([row[["method", "accuracy"]]])
        name = f"{row['tuned on']}, tried on {row['tried on']}"
        known = accuracies_for(row["tuned on"], row["shots"], row["tried on"])
        add(known, name, row["shots"], ends)
    return pd.DataFrame(rows)


def costs(points: pd.DataFrame) -> pd.DataFrame:
    """Queries, predictions and seconds of runs, means over seeds."""
    titles = {"data_name": "data set", "shots": "shots", "label": "method", "queries": "queries"}
    titles |= {f"{what}_predictions": f"{what} predictions" for what in ("search", "refiner")}
    titles |= {"image_predictions": "per deployed image", "seconds": "seconds"}
    ends = summarize(points)
    if ends["cost"].notna().any():
        titles["cost"] = "price"
    return ends[list(titles)].rename(columns=titles)


def pareto(points: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy in % at the end of the budget against what a deployed image costs.

    One row per data set, shots and label, without white-box references: ``data set``, ``shots``,
    ``method``, ``per image`` (predictions), ``accuracy``, and ``on the front``, which is ``no`` if
    another label is at least as accurate and costs no more.
    """
    rows = []
    own = points[~points["method"].map(is_white_box)]
    for (_, shots), task in summarize(own).groupby(["dataset", "shots"], sort=False):
        for _, end in with_front(task, "image_predictions").iterrows():
            row = {"data set": end["data_name"], "shots": shots, "method": end["label"]}
            row |= {"per image": end["image_predictions"], "accuracy": 100 * end["accuracy"]}
            rows.append(row | {"on the front": "yes" if end["front"] else "no"})
    return pd.DataFrame(rows)


def for_paper(points: pd.DataFrame) -> str:
    """LaTeX table (booktabs) of the accuracies at the end of the budget, in %.

    Mean and sample standard deviation over the seeds, a row for each method, by descending mean,
    and a column for each task. The highest mean of a column is bold; white-box references, below
    the rule, do not take part.
    """
    ends = last_points(points)
    ends = ends.assign(accuracy=100 * ends["accuracy"])
    keys = ["dataset", "data_name", "shots"]
    cells = ends.groupby(["label", *keys], sort=False)["accuracy"].agg(["mean", "std"])
    means = cells["mean"].unstack(keys).round(DIGITS)
    white = ends.groupby("label")["method"].first().map(is_white_box)
    order = means.mean(axis=1).sort_values(ascending=False, kind="stable").index
    best = means[~white[means.index]].max()
    columns = sorted(means.columns, key=lambda task: list(ends["dataset"].unique()).index(task[0]))
    lines = ["% Mean and standard deviation over the seeds; bold: highest mean."]
    lines += _tabular("l" + "r" * len(columns))
    lines.append(_row(["", *(_latex(str(name)) for _, name, _ in columns)]))
    lines.append(_row(["shots", *(str(shots) for _, _, shots in columns)]))
    for group in (order[~white[order]], order[white[order]]):
        if len(group):
            lines.append("\\midrule")
        for label in group:
            row = [_latex(label)]
            for task in columns:
                mean, deviation = means.loc[label, task], cells["std"].get((label, *task), np.nan)
                bold = not white[label] and mean == best[task]
                row.append(_mean_and_deviation(mean, deviation, bold))
            lines.append(_row(row))
    return "\n".join([*lines, *_END])


def _tabular(aligned: str) -> list[str]:
    """The first lines of a table in LaTeX, whose last are :data:`_END`."""
    return [f"\\begin{{tabular}}{{{aligned}}}", "\\toprule"]


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _mean_and_deviation(mean: float, deviation: float, bold: bool) -> str:
    if np.isnan(mean):
        return "--"
    shown = f"\\mathbf{{{mean:.1f}}}" if bold else f"{mean:.1f}"
    return f"${shown}$" if np.isnan(deviation) else f"${shown} \\pm {deviation:.1f}$"


def _latex(words: str) -> str:
    return printable(words).translate(_ESCAPED)


def text(value: object, column: str = "") -> str:
    """Format a value as a cell of its column."""
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return ""
        if column in ("p", "p, corrected"):
            return "< 0.001" if value < 0.001 else f"{value:.3f}"
        if column == "price":
            return short_amount(float(value))
        if column in ("queries", "reaches", "seconds") or "predictions" in column:
            return f"{value:,.0f}"
        return f"{value:,.2f}" if "rank" in column else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int | np.integer) else printable(str(value))


def markdown(table: pd.DataFrame) -> str:
    """Format a table in Markdown."""
    aligned = ["---" if _is_text(table[column]) else "--:" for column in table]
    lines = [
        [markdown_cell(str(column)) for column in table.columns],
        aligned,
        *(list(map(markdown_cell, cells)) for cells in _cells(table)),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(table: pd.DataFrame, folder: Path, name: str) -> None:
    """Write ``name.csv`` and ``name.tex`` (LaTeX with booktabs)."""
    write_atomically(folder / f"{name}.csv", table.to_csv(index=False))
    aligned = "".join("l" if _is_text(table[column]) else "r" for column in table)
    lines = [*_tabular(aligned), _row([_latex(str(column)) for column in table]), "\\midrule"]
    lines += [_row(list(map(_latex, cells))) for cells in _cells(table)]
    write_atomically(folder / f"{name}.tex", "\n".join([*lines, *_END]))


def _cells(table: pd.DataFrame) -> Iterator[list[str]]:
    """The formatted cells of each row."""
    for row in table.itertuples(index=False):
        yield [text(value, column) for column, value in zip(table, row, strict=True)]


def _is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column)
