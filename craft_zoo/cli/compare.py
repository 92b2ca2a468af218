"""Compare two methods by pairs of runs, over all tasks and seeds that both were run on: the mean
difference (95 % bootstrap interval over seeds and tasks; below 5 seeds no interval, but the single
seeds) and Wilcoxon's signed-rank test.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from craft_zoo.benchmarks import (
    INTERVAL,
    SINGLE_SEEDS,
    RunSpec,
    compare,
    few_seeds_warning,
    name_datasets,
    read_results,
    score_table,
    short_name,
    spread,
    tidy,
)
from craft_zoo.benchmarks.names import DatasetName
from craft_zoo.benchmarks.significance import p_in_words
from craft_zoo.cli.bench import DEFAULT_OUT
from craft_zoo.console import open_console, say
from craft_zoo.counts import counted
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable

_ENOUGH = 0.05  # significance level


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("base", metavar="A", help="a method, as named by craft-zoo bench")
    parser.add_argument("other", metavar="B", help="the method to compare it with")
    parser.add_argument(
        "--in",
        dest="folder",
        type=Path,
        default=Path(DEFAULT_OUT),
        metavar="DIR",
        help=f"results folder of craft-zoo bench that contains A (default: {DEFAULT_OUT})",
    )
    parser.add_argument(
        "--and-in",
        dest="folder_of_other",
        type=Path,
        metavar="DIR",
        help="results folder that contains B, for instance of another version of craft-zoo "
        "(default: the folder of A)",
    )
    parser.add_argument(
        "--measure",
        choices=("accuracy", "area"),
        default="accuracy",
        help="accuracy after the last query, or area under the curve (default: accuracy)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    ours, theirs, names = _read(options)
    whole = pd.concat([ours.rename("A"), theirs.rename("B")], axis=1).dropna().sort_index()
    if whole.empty:
        raise CraftZooError(
            f"{ours.name!r} and {theirs.name!r} were not run on the same task with the same seed: "
            f"bench both"
        )
    found = compare(whole, "A", "B")
    interval = not math.isnan(found.low)
    # Interval and test must both be significant: the bootstrap is overconfident with few seeds.
    around = (found.low, found.high) if interval else found.singles
    apart = min(around) > 0 or max(around) < 0
    significant = apart and found.p < _ENOUGH
    called = f"A ({printable(str(ours.name))})", f"B ({printable(str(theirs.name))})"
    better, worse = called[::-1] if found.difference >= 0 else called
    console = open_console()
    points = 100 * abs(found.difference)
    if significant:
        verdict = f"{better} is better than {worse} by {points:.1f} points"
    else:
        verdict = f"No significant difference: {better} is ahead of {worse} by {points:.1f} points"
    if shown := spread(found.low, found.high, found.singles, "+"):
        verdict += f" (B minus A: {shown}; {INTERVAL if interval else SINGLE_SEEDS})"
    tasks = whole.reset_index().groupby("dataset", sort=False)["shots"].unique()
    where = ", ".join(f"{names[key]} ({_listed(shots)})" for key, shots in tasks.items())
    p = p_in_words(found.p)
    what = "accuracy at the end" if options.measure == "accuracy" else "area under the curve"
    sentences = [
        f"{verdict}.",
        f"{what.capitalize()}, {found.pairs} pairs of runs (the same task and seed): {where}. "
        f"B is ahead in {100 * found.wins:.0f} % of them; Wilcoxon's signed-rank test: {p}"
        + (
            f" ({found.pairs} pairs cannot give less than {found.least_p:.3f}: bench more seeds)."
            if found.least_p > _ENOUGH
            else "."
        ),
        few_seeds_warning(whole.reset_index()),
    ]
    say(console, *filter(None, sentences))
    return 0


def _listed(shots: Iterable[int]) -> str:
    *others, last = sorted(shots)
    return "".join(f"{number}, " for number in others) + counted(last, "shot")


def _read(options: argparse.Namespace) -> tuple[pd.Series, pd.Series, dict[str, str]]:
    """Scores of A and B by data set, shots and seed, and display names of the data sets."""
    folders = options.folder, options.folder_of_other or options.folder
    results = [read_results(folder) for folder in dict.fromkeys(folders)]
    datasets = _matched([list(each.curves) for each in results])
    tables = [
        tidy(each.curves, each.names, named) for each, named in zip(results, datasets, strict=True)
    ]
    ours = _scores(tables[0], folders[0], options.base, options.measure)
    theirs = _scores(tables[-1], folders[1], options.other, options.measure)
    names = {each.key: each.name for named in datasets[::-1] for each in named.values()}
    return ours, theirs, names


def _matched(folders: list[list[RunSpec]]) -> list[dict[RunSpec, DatasetName]]:
    """Names of the data sets of runs in several folders, with equal keys for equal data sets.

    A data set is identified by the last part of its path, and also by a hash of its content if a
    results folder has several data sets of that name.
    """
    named = [name_datasets(runs) for runs in folders]
    kinds: dict[str, int] = {}  # short name → maximum number of data sets with it in one folder
    for names in named:
        here: dict[str, set[str]] = {}
        for run, each in names.items():
            here.setdefault(short_name(run.dataset.name), set()).add(each.key)
        for name, keys in here.items():
            kinds[name] = max(kinds.get(name, 0), len(keys))

    def key(run: RunSpec, each: DatasetName) -> str:
        name = short_name(run.dataset.name)
        if kinds[name] == 1:
            return name
        protocol = f"{run.dataset.sampling} {run.dataset.fewer} {run.measured_on}"
        return f"{name} {run.data} {protocol}" if run.data else each.key

    return [
        {run: DatasetName(key(run, each), each.name) for run, each in names.items()}
        for names in named
    ]


def _scores(points: pd.DataFrame, folder: Path, name: str, measure: str) -> pd.Series:
    """A method's scores by data set, shots and seed."""
    labels = list(points["label"].unique())
    fitting = [label for label in labels if label == name] or [
        label
        for label, method in points.drop_duplicates("label")[["label", "method"]].itertuples(
            index=False
        )
        if method == name
    ]
    if len(fitting) != 1:
        held = f"{len(fitting)} curves of {name!r}" if fitting else f"no method {name!r}"
        raise CraftZooError(
            f"{folder} holds {held}: write one of "
            f"{', '.join(repr(label) for label in fitting or labels)}"
        )
    return score_table(points[points["label"] == fitting[0]], measure)[fitting[0]]  # type: ignore[arg-type]
