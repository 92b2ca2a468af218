"""``craft-zoo compare``: whether one method is better than another, and how sure that is."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from craft_zoo.benchmarks import compare, read_results, score_table, short_name, tidy
from craft_zoo.cli.bench import DEFAULT_OUT
from craft_zoo.console import open_console
from craft_zoo.errors import CraftZooError

_ENOUGH = 0.05


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare",
        help="is B better than A, by how much, and how sure is that?",
        description="Compare two methods run for run, over all tasks and seeds that both were run "
        "on: the mean difference with its 95 % interval (bootstrap of the seeds within each task) "
        "and Wilcoxon's signed-rank test.",
    )
    parser.add_argument("base", metavar="A", help="a method as craft-zoo bench names it")
    parser.add_argument("other", metavar="B", help="the other")
    parser.add_argument(
        "--in",
        dest="folder",
        type=Path,
        default=Path(DEFAULT_OUT),
        metavar="DIR",
        help=f"the results of craft-zoo bench or study that hold A (default: {DEFAULT_OUT})",
    )
    parser.add_argument(
        "--and-in",
        dest="folder_of_other",
        type=Path,
        metavar="DIR",
        help="those that hold B, of another bench, for instance with another version (default: "
        "the same)",
    )
    parser.add_argument(
        "--measure",
        choices=("accuracy", "area"),
        default="accuracy",
        help="at the end, or the area under the curve (default: accuracy)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry the command out."""
    ours = _scores(options.folder, options.base, options.measure)
    theirs = _scores(options.folder_of_other or options.folder, options.other, options.measure)
    names = f"A ({ours.name})", f"B ({theirs.name})"
    both = pd.concat([ours.rename("A"), theirs.rename("B")], axis=1)
    whole = both.dropna()
    if whole.empty:
        raise CraftZooError(
            f"{ours.name!r} and {theirs.name!r} were not run on the same task with the same seed: "
            f"bench both"
        )
    found = compare(both, "A", "B")
    # Both must say so: of few seeds the bootstrap is too sure of itself.
    apart = math.isnan(found.low) or found.low > 0 or found.high < 0
    sure = apart and found.p < _ENOUGH
    better, worse = names[::-1] if found.difference >= 0 else names
    console = open_console()
    points = 100 * abs(found.difference)
    if sure:
        verdict = f"{better} is better than {worse} by {points:.1f} points"
    else:
        verdict = f"No telling: {better} is ahead of {worse} by {points:.1f} points"
    if not math.isnan(found.low):
        low, high = sorted((100 * found.low, 100 * found.high))
        verdict += f" (B less A: {low:+.1f} to {high:+.1f} with 95 % confidence)"
    tasks = whole.reset_index().groupby("dataset", sort=False)["shots"].unique()
    where = ", ".join(f"{name} ({_listed(shots)} shots)" for name, shots in tasks.items())
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"
    console.print(f"{verdict}.", soft_wrap=True, markup=False, highlight=False)
    what = "accuracy at the end" if options.measure == "accuracy" else "area under the curve"
    console.print(
        f"{what.capitalize()}, {found.pairs} pairs of runs (the same task and seed): {where}. "
        f"B is ahead in {found.wins:.0%} of them; Wilcoxon's signed-rank test: {p}"
        + (
            f" ({found.pairs} pairs cannot give less than {found.least_p:.3f}: bench more seeds)."
            if found.least_p > _ENOUGH
            else "."
        ),
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    return 0


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))


def _scores(folder: Path, name: str, measure: str) -> pd.Series:
    """A method's scores by data set, shots and seed."""
    results = read_results(folder)
    points = tidy(results.curves, results.names)
    points["dataset"] = points["dataset"].map(short_name)  # wherever it lies
    labels = list(points["label"].unique())
    fitting = [label for label in labels if label == name] or [
        label
        for label, method in points.drop_duplicates("label")[["label", "method"]].itertuples(
            index=False
        )
        if method == name
    ]
    if len(fitting) != 1:
        raise CraftZooError(
            f"{folder} holds {'no' if not fitting else len(fitting)} methods {name!r}: write one "
            f"of {', '.join(repr(label) for label in fitting or labels)}"
        )
    return score_table(points[points["label"] == fitting[0]], measure)[fitting[0]]  # type: ignore[arg-type]
