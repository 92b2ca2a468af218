"""Compare two methods by pairs of runs, over all tasks and seeds that both were run on: the mean
difference (95 % bootstrap interval over seeds and tasks; below 5 seeds no interval, but the single
seeds) and Wilcoxon's signed-rank test.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

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
from craft_zoo.benchmarks.grid import label_runs
from craft_zoo.benchmarks.names import DatasetName
from craft_zoo.benchmarks.results import Results
from craft_zoo.benchmarks.significance import p_in_words
from craft_zoo.cli.bench import DEFAULT_OUT
from craft_zoo.console import open_console, say
from craft_zoo.counts import counted
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable

_ENOUGH = 0.05  # significance level
# Conditions of a run that are the same for both methods of a fair comparison.
_CONDITIONS: dict[str, Callable[[RunSpec], str]] = {
    "model": lambda run: printable(run.model),
    "precision": lambda run: run.precision,
    "budget": lambda run: counted(run.budget, "query"),
    "images or class names": lambda run: run.data and f"hash {run.data[:6]}",
    "drawing of shots": lambda run: f"{run.dataset.sampling}, fewer={run.dataset.fewer}",
    "images of accuracy": lambda run: run.measured_on,
}


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
    one, two, names = _read(options)
    ours, theirs = one.scores, two.scores
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
    differing = list(_differences(one, two))
    console = open_console()
    points = 100 * abs(found.difference)
    if significant:
        verdict = f"{better} is better than {worse} by {points:.1f} points"
    elif points < 0.05:
        verdict = f"No significant difference: {worse} and {better} are less than 0.05 points apart"
    else:
        verdict = f"No significant difference: {better} is ahead of {worse} by {points:.1f} points"
    if shown := spread(found.low, found.high, found.singles, "+"):
        verdict += f" (B minus A: {shown}; {INTERVAL if interval else SINGLE_SEEDS})"
    tasks = whole.reset_index().groupby("dataset", sort=False)["shots"].unique()
    where = ", ".join(f"{names[key]} ({_listed(shots)})" for key, shots in tasks.items())
    p, pairs = p_in_words(found.p), counted(found.pairs, "pair")
    what = "accuracy at the end" if options.measure == "accuracy" else "area under the curve"
    equal = int((whole["A"] == whole["B"]).sum())
    ties = f" (of {equal} with equal scores, half are counted)" if equal else ""
    sentences = [
        f"{verdict}.",
        f"{what.capitalize()}, {pairs} of runs (the same task and seed): {where}. "
        f"B is ahead in {100 * found.wins:.0f} % of them{ties}; Wilcoxon's signed-rank test: {p}"
        + (
            f" ({pairs} cannot give less than {found.least_p:.3f}: bench more seeds)."
            if found.least_p > _ENOUGH
            else "."
        ),
        f"The runs of a pair differ in more: {', '.join(differing)}." if differing else "",
        few_seeds_warning(whole.reset_index()),
    ]
    say(console, *filter(None, sentences))
    return 0


def _listed(shots: Iterable[int]) -> str:
    *others, last = sorted(shots)
    return "".join(f"{number}, " for number in others) + counted(last, "shot")


class _Side(NamedTuple):
    """A or B."""

    scores: pd.Series  # by data set, shots and seed
    runs: dict[tuple[str, int, int], RunSpec]  # by the same


def _read(options: argparse.Namespace) -> tuple[_Side, _Side, dict[str, str]]:
    """A and B, and display names of the data sets."""
    folders = options.folder, options.folder_of_other or options.folder
    results = [read_results(folder) for folder in dict.fromkeys(folders)]
    datasets = _matched([list(each.curves) for each in results])
    ours = _side(results[0], datasets[0], folders[0], options.base, options.measure)
    theirs = _side(results[-1], datasets[-1], folders[1], options.other, options.measure)
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


def _side(
    results: Results,
    datasets: dict[RunSpec, DatasetName],
    folder: Path,
    name: str,
    measure: Literal["accuracy", "area"],
) -> _Side:
    labels = label_runs(results.curves, results.names)
    fitting = [label for label in labels.values() if label == name] or [
        label for run, label in labels.items() if run.method == name
    ]
    if len(set(fitting)) != 1:
        several = list(dict.fromkeys(fitting))
        held = f"{len(several)} curves of {name!r}" if several else f"no method {name!r}"
        raise CraftZooError(
            f"{folder} holds {held}: write one of "
            f"{', '.join(map(repr, several or dict.fromkeys(labels.values())))}"
        )
    points = tidy(results.curves, results.names, datasets)
    scores = score_table(points[points["label"] == fitting[0]], measure)[fitting[0]]
    mine = [run for run, label in labels.items() if label == fitting[0]]
    return _Side(scores, {(datasets[run].key, run.shots, run.seed): run for run in mine})


def _differences(ours: _Side, theirs: _Side) -> Iterator[str]:
    """What the pairs of runs differ in besides method, optimizer and settings."""
    pairs = [(ours.runs[key], theirs.runs[key]) for key in ours.runs.keys() & theirs.runs.keys()]
    for what, of in _CONDITIONS.items():
        found = sorted({(of(a), of(b)) for a, b in pairs if of(a) and of(b) and of(a) != of(b)})
        if found:
            yield f"{what} ({'; '.join(f'{a} and {b}' for a, b in found)})"
