"""Writing and reading a bench's result files: tables, plots and resolved configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from craft_zoo.benchmarks.archive import CONFIG, CONFIG_BYTES, read_archive
from craft_zoo.benchmarks.conclusion import conclusions
from craft_zoo.benchmarks.grid import RunSpec, short_name
from craft_zoo.benchmarks.plots import plot_curves
from craft_zoo.benchmarks.statistics import average_curves, summarize, tidy
from craft_zoo.benchmarks.store import Point, Record, RunStore, collect, environment, parse_record
from craft_zoo.blackbox import Price
from craft_zoo.counts import counted
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


_UNREADABLE = "{} cannot be read ({}): remove it, or run the bench again"


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
    write_atomically(folder / CONFIG, sealed(config))


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
        sources: a sentence for each other source whose runs were added.
        folder: the results folder; None: the results are of an archive.
    """

    curves: dict[RunSpec, list[Point]]
    names: dict[RunSpec, str]
    missing: list[RunSpec]
    others: list[RunSpec]
    broken: list[str]
    environment: dict[str, Any]
    transfers: dict[RunSpec, dict[str, float]] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    folder: Path | None = field(default=None, compare=False)

    @property
    def left_out(self) -> list[str]:
        """Sentences about unfinished runs and those of another grid, which are not shown."""
        where = "an archive" if self.folder is None else str(self.folder)
        return [
            f"Left out: {counted(len(runs), 'run')} of {where}, {why}."
            for runs, why in ((self.missing, "unfinished"), (self.others, "of another grid"))
            if runs
        ]

    @property
    def notes(self) -> list[str]:
        """Sentences about the runs of other sources, and about runs that are left out."""
        return [*self.sources, *self.broken, *self.left_out]

    @cached_property
    def conclusions(self) -> list[str]:
        """Sentences that say which method to take; see :func:`craft_zoo.benchmarks.conclusions`."""
        return conclusions(self.curves, self.names, self.folder)


def read_results(source: Path) -> Results:
    """Read the folder of a finished or running ``craft-zoo bench``, or an archive of one.

    The grid is read from ``config.json``. Until that exists, it consists of all finished runs.

    Args:
        source: the folder, or a file of :func:`craft_zoo.benchmarks.write_archive`.

    Raises:
        CraftZooError: there is no finished run, or ``config.json`` cannot be read.
    """
    if source.is_file():
        records, broken, config = _archived(source)
    elif (source / "runs").is_dir():
        records, broken = RunStore(source).read_all()
        config = _config_of(source)
    else:
        raise CraftZooError(
            f"{source} holds no results: give the folder of a craft-zoo bench (--out)"
        )
    names, about = dict.fromkeys(records, ""), environment()
    if config is not None:
        names, about = _grid(config, source)
    # Match runs by identity, as the data may have moved to another path since.
    by_identity = {run.identity: record for run, record in records.items()}
    found = {run: by_identity[run.identity] for run in names if run.identity in by_identity}
    if not found:
        raise CraftZooError(
            f"{source} holds no finished run: wait until craft-zoo bench has finished"
        )
    grid = {run.identity for run in names}
    return Results(
        curves={run: record.points for run, record in found.items()},
        names=names,
        missing=[run for run in names if run not in found],
        others=[run for run in records if run.identity not in grid],
        broken=broken,
        environment=about,
        transfers={run: record.transfer for run, record in found.items() if record.transfer},
        folder=source if source.is_dir() else None,
    )


def _archived(path: Path) -> tuple[dict[RunSpec, Record], list[str], bytes | None]:
    contents = dict(read_archive(path))
    config = contents.pop(CONFIG, None)
    records, broken = collect(
        partial(parse_record, content, f"{name} in {path}") for name, content in contents.items()
    )
    return records, broken, config


def _config_of(folder: Path) -> bytes | None:
    path = folder / CONFIG
    try:
        return read_bounded(path, CONFIG_BYTES, "a grid's configuration") if path.exists() else None
    except (OSError, ValueError) as error:
        raise CraftZooError(_UNREADABLE.format(path, error)) from None


def _grid(content: bytes, source: Path) -> tuple[dict[RunSpec, str], dict[str, Any]]:
    """The runs of a ``config.json`` with their names, and its environment."""
    try:
        config = parse(content)
        if not seal_holds(config):
            raise ValueError("it does not match its checksum")
        check(_Config, config)
        names = {
            RunSpec.from_json({k: v for k, v in run.items() if k != "name"}): str(run["name"])
            for run in config["runs"]
        }
    except (ValueError, KeyError, TypeError) as error:
        raise CraftZooError(_UNREADABLE.format(source / CONFIG, error)) from None
    return names, config["environment"]


def lay_beside(results: Results, others: Mapping[str, Results]) -> Results:
    """Results with the runs of others added, so that they are shown together.

    Runs of the same configuration share a curve. A run that several sources have is taken from the
    first of them; a sentence in ``sources`` says where another one has other results. If
    ``results`` has a data set of the same name and content as an added run, it replaces that of the
    run, whose path may be another.

    Args:
        results: the first source, whose grid and environment are kept.
        others: name of a source → its results.
    """
    curves, names, transfers = dict(results.curves), dict(results.names), dict(results.transfers)
    broken, sources = list(results.broken), list(results.sources)
    known = {run.identity: points for run, points in curves.items()}
    datasets = {_data(run): run.dataset for run in curves}
    for source, other in others.items():
        broken += other.broken
        before, differing = len(curves), 0
        for run, points in other.curves.items():
            mine = replace(run, dataset=datasets.setdefault(_data(run), run.dataset))
            if mine.identity in known:
                differing += _accuracies(points) != _accuracies(known[mine.identity])
                continue
            known[mine.identity] = points
            curves[mine], names[mine] = points, other.names[run]
            transfers |= {mine: other.transfers[run]} if run in other.transfers else {}
        sources += [f"{counted(len(curves) - before, 'run')} from {source}.", *other.left_out]
        if differing:
            sources.append(
                f"Other results of {counted(differing, 'run')} in {source} are not shown, as a "
                f"source before it has them too."
            )
    return replace(
        results, curves=curves, names=names, transfers=transfers, broken=broken, sources=sources
    )


def with_price(
    curves: Mapping[RunSpec, Sequence[Point]], price: Price
) -> dict[RunSpec, list[Point]]:
    """Curves with the costs at a price.

    Where a run was made at another one, at none, or cost nothing, which does not tell, its costs of
    evaluation become unknown.
    """

    def at_price(points: Sequence[Point]) -> list[Point]:
        costs = [price.cost(point.usage) for point in points]
        if costs[-1] > 0 and costs == [point.cost for point in points]:
            return list(points)
        return [
            replace(point, cost=cost, evaluation_cost=math.nan)
            for point, cost in zip(points, costs, strict=True)
        ]

    return {run: at_price(points) for run, points in curves.items()}


def _accuracies(points: Sequence[Point]) -> list[tuple[int, float]]:
    return [(point.queries, point.accuracy) for point in points]


def _data(run: RunSpec) -> tuple[str, ...]:
    """Key that is equal for runs on data sets with the same images, classes and draws."""
    spec = run.dataset
    return short_name(spec.name), run.data or spec.name, spec.sampling, spec.fewer
