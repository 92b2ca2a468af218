"""Sentences that say which method of a bench to take, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from craft_zoo.benchmarks.commands import command_with_seeds
from craft_zoo.benchmarks.grid import RunSpec, label_runs
from craft_zoo.benchmarks.significance import TASK, compare_all, p_in_words, score_table
from craft_zoo.benchmarks.statistics import (
    ANCHORS,
    CONFIDENCE,
    ENOUGH_SEEDS,
    LOCAL,
    ONE_PREDICTION,
    VECTORS,
    last_points,
    tidy,
    track_of,
    with_front,
)
from craft_zoo.benchmarks.store import Point
from craft_zoo.blackbox.usage import short_amount
from craft_zoo.counts import counted
from craft_zoo.methods import is_white_box
from craft_zoo.printable import printable

_MOST_SEEDS = 20  # more are not proposed

_SAME = 1e-9  # smaller differences of means are of rounding: the methods tie

_OF = {
    ONE_PREDICTION: "Of the methods whose deployed image costs one prediction, ",
    ANCHORS: "Of the methods with anchors, ",
    VECTORS: "Of the methods that need the model's vectors, ",
    LOCAL: "Of the methods with local features, ",
}


def conclusions(
    curves: Mapping[RunSpec, Sequence[Point]],
    names: Mapping[RunSpec, str] | None = None,
    folder: Path | None = None,
) -> list[str]:
    """The most accurate method at the end of the budget, its lead and its p-value, for each track.

    Methods are compared over the tasks on which all of them were run. Methods that look into the
    model are left out. A track is what a deployed image needs, see
    :func:`craft_zoo.benchmarks.average_curves`.

    Args:
        curves: the points of every run.
        names: of variants, see :func:`craft_zoo.benchmarks.tidy`.
        folder: the results folder, for the command that makes more runs; None: not known.

    Returns:
        A sentence for each track.
    """
    points = tidy(curves, names)
    points = points[~points["method"].map(is_white_box)]
    if points.empty:
        return []
    # A method whose tasks differ in what they need is of the track that needs more.
    tracks = {label: track_of(mine) for label, mine in points.groupby("label", sort=False)}
    labels = label_runs(curves, names)
    found = []
    for track in _OF:
        mine = points[points["label"].map(tracks) == track]
        if not mine.empty:
            of = _OF[track] if len(set(tracks.values())) > 1 else ""
            found.append("".join(_sentences(of, mine, curves, labels, folder)))
    found += _by_price(points)
    return [printable(sentence) for sentence in found]


def _by_price(points: pd.DataFrame) -> Iterator[str]:
    """A sentence with the methods than which no cheaper one is as accurate, by their prices.

    Methods whose price is known are compared at the end of the budget, as in the other sentences.
    """
    ends = last_points(points).set_index([*TASK, "seed", "label"])
    known = ends["cost"].notna().groupby("label").all()
    scores = score_table(points)[known.index[known]]
    scores = scores[_on_all_tasks(scores)].dropna()
    costs = ends["cost"].unstack("label").loc[scores.index, scores.columns]
    means = pd.DataFrame({"cost": costs.mean(), "accuracy": scores.mean()})
    front = with_front(means, "cost", least=_SAME).query("front")
    if len(front) > 1 and (front["cost"] > 0).any():
        each = [
            f"{label} with {100 * row.accuracy:.1f} % for {short_amount(row.cost)}"
            for label, row in zip(front.index, front.itertuples(), strict=True)
        ]
        means_of = f" (means of {len(scores)} runs)" if len(scores) > 1 else ""
        yield f"By the price of search and refiner, the best are {', '.join(each)}{means_of}."


def _on_all_tasks(scores: pd.DataFrame) -> list[str]:
    """Labels of the methods that were run on all tasks."""
    runs = scores.groupby(level=TASK).count()
    return [label for label in scores if (runs[label] > 0).all()]


def _sentences(
    of: str,
    points: pd.DataFrame,
    curves: Mapping[RunSpec, Sequence[Point]],
    labels: Mapping[RunSpec, str],
    folder: Path | None,
) -> Iterator[str]:
    scores = score_table(points)
    scores = scores[scores.columns[scores.notna().any()]]
    scores = scores[_on_all_tasks(scores)]
    if scores.empty:
        yield f"{of}none was run on all tasks." if of else "No method was run on all tasks."
        return
    scores = scores.dropna()
    if scores.empty:
        yield f"{of}no seed was run with all." if of else "No seed was run with all methods."
        return
    sizes = scores.groupby(level=TASK).size()
    n_tasks, seeds = len(sizes), sizes.max()
    # Over the runs, as in the report's tables and in the paired test: over tasks of which some have
    # more seeds, as in an unfinished bench, another method may lead.
    means = scores.mean().sort_values(ascending=False, kind="stable")
    leader = str(means.index[0])
    if n_tasks == 1:
        task = points.set_index(TASK, drop=False).loc[[sizes.index[0]]].iloc[0]
        where = f"on {task['data_name']}, {counted(int(task['shots']), 'shot')}"
    elif sizes.min() == seeds:
        where = f"in the mean of {n_tasks} tasks"
    else:
        where = f"in the mean of {len(scores)} runs on {n_tasks} tasks"
    costs = last_points(points[points["label"] == leader])["image_predictions"].mean()
    price = f" for {costs:.1f} predictions a deployed image" if costs > 1 else ""
    reached = f"{100 * means.iloc[0]:.1f} % {where}{price}"
    if len(means) == 1:
        yield f"{of}{leader} reaches {reached}."
        return
    table = compare_all(scores, leader).set_index("label")
    tied = [str(label) for label in means.index[means > means.iloc[0] - _SAME]]
    compared = tied if len(tied) > 1 else [leader, str(means.index[1])]
    row = table.loc[compared[1]]
    pairs = f"{counted(int(row['pairs']), 'pair')} of runs"

    def again(more: int) -> str:
        runs = [run for run in curves if labels[run] in compared]
        return (
            command_with_seeds(runs, more, folder) or f"the bench again with {more} seeds (--seeds)"
        )

    needed = _pairs_needed(len(table))
    enough = max(ENOUGH_SEEDS, -(-needed // n_tasks))
    more = enough if row["pairs"] < needed else 2 * int(seeds)
    if len(tied) > 1:
        take = "take either" if len(tied) == 2 else "take any of them"
        *others, last = tied
        yield f"{of}{', '.join(others)} and {last} tie at {100 * means.iloc[0]:.1f} % {where}"
        yield f" ({pairs}): {take}"
        yield f", or run {again(more)}." if more <= _MOST_SEEDS else "."
        return
    ahead = 100 * abs(row["difference"])
    points = f"{ahead:.1f} points" if ahead >= 0.05 else "less than 0.1 points"
    yield f"{f'{of}the' if of else 'The'} most accurate is {leader}: {reached}"
    yield f", {points} above {compared[1]}"
    if row["corrected"] < 1 - CONFIDENCE:
        yield f" ({p_in_words(row['corrected'])}, {pairs})."
    elif row["pairs"] < needed:
        verb = "is" if row["pairs"] == 1 else "are"
        yield f", but {pairs} {verb} too few to test whether it is chance: run {again(enough)}."
    else:
        yield f", which may be chance (p = {row['corrected']:.2f}, {pairs}): take either"
        yield f", or run {again(more)}." if more <= _MOST_SEEDS else "."


def _pairs_needed(comparisons: int) -> int:
    """Least number of pairs whose p-value, corrected for the comparisons, can be significant."""
    return 2 + math.floor(math.log2(comparisons / (1 - CONFIDENCE)))
