"""Writing and reading a bench's result files: tables, plots and resolved configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.plots import plot_curves
from craft_zoo.benchmarks.statistics import average_curves, summarize, tidy
from craft_zoo.benchmarks.store import Point, RunStore, environment
from craft_zoo.errors import CraftZooError
from craft_zoo.files import read_bounded, write_atomically
from craft_zoo.records import check, parse, seal_holds, sealed


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
        The summary, one row per curve.
    """
    points = tidy(curves, names)
    summary = summarize(points)
    write_atomically(folder / "curves.csv", points.to_csv(index=False))
    # A CSV cell cannot hold a tuple, so the seeds' fractions are separated by spaces.
    cells = {
        column: [" ".join(f"{value:.6g}" for value in each) for each in summary[column]]
        for column in ("singles", "area_singles")
    }
    write_atomically(folder / "summary.csv", summary.assign(**cells).to_csv(index=False))
    write_config(curves, folder, names)
    plot_curves(average_curves(points), folder)
    return summary


_CONFIG = "config.json"
_CONFIG_BYTES = 2**25


class _Environment(BaseModel):
    """Types of the ``environment`` fields shown in a report; other fields are allowed."""

    machine: str = "?"
    cores: int | None = None
    packages: dict[str, str] = Field(default_factory=dict)


class _Config(BaseModel):
    """The content of ``config.json``."""

    model_config = ConfigDict(extra="forbid")

    runs: list[dict[str, Any]]
    environment: _Environment
    checksum: str | None = None


def write_config(
    runs: Iterable[RunSpec], folder: Path, names: Mapping[RunSpec, str] | None = None
) -> None:
    """Write ``config.json``: the runs of a grid, and the machine and versions it was run with.

    Args:
        runs: the grid.
        folder: an existing folder.
        names: names of variants, if any.
    """
    described = [run.to_json() | {"name": (names or {}).get(run, "")} for run in runs]
    config = {"runs": described, "environment": environment()}
    write_atomically(folder / _CONFIG, sealed(config))


@dataclass(frozen=True)
class Results:
    """Contents of a results folder.

    Attributes:
        curves: the points of each finished run of the grid.
        names: the variant name of each run of the grid; "" if it has none.
        missing: unfinished runs of the grid.
        others: finished runs outside the grid.
        broken: an error message for each unreadable record.
        environment: versions and machine of the last bench.
        transfers: finished run → data set name → accuracy of the run's solution on it.
    """

    curves: dict[RunSpec, list[Point]]
    names: dict[RunSpec, str]
    missing: list[RunSpec]
    others: list[RunSpec]
    broken: list[str]
    environment: dict[str, Any]
    transfers: dict[RunSpec, dict[str, float]] = field(default_factory=dict)


def read_results(folder: Path) -> Results:
    """Read the folder of a finished or running ``craft-zoo bench``.

    The grid is read from ``config.json``. Until that exists, it consists of all finished runs.

    Raises:
        CraftZooError: there is no finished run, or ``config.json`` cannot be read.
    """
    if not (folder / "runs").is_dir():
        raise CraftZooError(
            f"{folder} holds no results: give the folder of a craft-zoo bench (--out)"
        )
    store = RunStore(folder)
    found, broken = store.read_all()
    names, about = dict.fromkeys(found, ""), environment()
    path = folder / _CONFIG
    if path.exists():
        try:
            config = parse(read_bounded(path, _CONFIG_BYTES, "a grid's configuration"))
            if not seal_holds(config):
                raise ValueError("it does not match its checksum")
            check(_Config, config)
            names = {
                RunSpec.from_json({k: v for k, v in run.items() if k != "name"}): str(run["name"])
                for run in config["runs"]
            }
            about = config["environment"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CraftZooError(
                f"{path} cannot be read ({error}): remove it, or run the bench again"
            ) from None
    # Match runs by identity, as the data may have moved to another path since.
    by_identity = {run.identity: points for run, points in found.items()}
    curves = {run: by_identity[run.identity] for run in names if run.identity in by_identity}
    if not curves:
        raise CraftZooError(
            f"{folder} holds no finished run: wait until craft-zoo bench has finished"
        )
    grid = {run.identity for run in names}
    return Results(
        curves=curves,
        names=names,
        missing=[run for run in names if run not in curves],
        others=[run for run in found if run.identity not in grid],
        broken=broken,
        environment=about,
        transfers={run: store.transfers(run) for run in curves if run.transfer},
    )
