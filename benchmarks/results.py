"""The files that a bench leaves for people: tables, plots, the resolved configuration."""

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
        The summary, one row a curve.
    """
    points = tidy(curves, names)
    summary = summarize(points)
    write_atomically(folder / "curves.csv", points.to_csv(index=False))
    # What each seed has: shares with spaces between them.
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
    """What a page shows of ``environment``; there may be more."""

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
    """Write ``config.json``: which runs make up a grid, and on what machine it was run.

    Args:
        runs: the grid.
        folder: an existing folder.
        names: of variants, if any.
    """
    described = [run.to_json() | {"name": (names or {}).get(run, "")} for run in runs]
    config = {"runs": described, "environment": environment()}
    write_atomically(folder / _CONFIG, sealed(config))


@dataclass(frozen=True)
class Results:
    """What a folder of results holds.

    Attributes:
        curves: the points of the runs of its grid that are finished.
        names: of the variants among them; "" for the others.
        missing: runs of the grid that are not finished.
        others: finished runs that are not of the grid.
        broken: of each record that cannot be read, why.
        environment: versions and machine, as the last bench saw them.
        transfers: accuracy of each finished run's solution on other data sets, by name.
    """

    curves: dict[RunSpec, list[Point]]
    names: dict[RunSpec, str]
    missing: list[RunSpec]
    others: list[RunSpec]
    broken: list[str]
    environment: dict[str, Any]
    transfers: dict[RunSpec, dict[str, float]] = field(default_factory=dict)


def read_results(folder: Path) -> Results:
    """What ``craft-zoo bench`` or ``study`` has left in a folder, or has come to so far.

    The grid is that of ``config.json``; while there is none yet, all finished runs.

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
    # Stores are compared by identity, as the same data may lie elsewhere now.
    by_identity = {run.identity: points for run, points in found.items()}
    curves = {run: by_identity[run.identity] for run in names if run.identity in by_identity}
    if not curves:
        raise CraftZooError(f"{folder} holds no finished run: let craft-zoo bench come to its end")
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
