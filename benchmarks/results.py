"""The files that a bench leaves for people: tables, plots, the resolved configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.plots import plot_curves
from craft_zoo.benchmarks.statistics import average_curves, summarize, tidy
from craft_zoo.benchmarks.store import Point, environment, write_atomically


def write_results(
    curves: Mapping[RunSpec, Sequence[Point]],
    folder: Path,
    names: Mapping[RunSpec, str] | None = None,
) -> pd.DataFrame:
    """Write ``curves.csv``, ``summary.csv``, ``curves.png``, ``curves.svg`` and ``config.json``.

    Args:
        curves: the points of every run of the bench.
        folder: an existing folder.
        names: of variants, see :func:`craft_zoo.benchmarks.tidy`.

    Returns:
        The summary, one row a curve.
    """
    points = tidy(curves, names)
    summary = summarize(points)
    write_atomically(folder / "curves.csv", points.to_csv(index=False))
    write_atomically(folder / "summary.csv", summary.to_csv(index=False))
    runs = [run.to_json() | {"name": (names or {}).get(run, "")} for run in curves]
    config = {"runs": runs, "environment": environment()}
    write_atomically(folder / "config.json", json.dumps(config, indent=1))
    plot_curves(average_curves(points), folder)
    return summary
