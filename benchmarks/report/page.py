"""HTML and Markdown pages of the report."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from craft_zoo.benchmarks.commands import command
from craft_zoo.benchmarks.grid import RunSpec, label_runs
from craft_zoo.benchmarks.names import (
    DatasetName,
    distinguished,
    file_names,
    markdown_cell,
    name_datasets,
)
from craft_zoo.benchmarks.plots import (
    LEVEL_COLOUR,
    Styles,
    compared_lines,
    line_id,
    line_styles,
    panels,
)
from craft_zoo.benchmarks.published import SOURCES
from craft_zoo.benchmarks.report import figures, tables
from craft_zoo.benchmarks.results import Results
from craft_zoo.benchmarks.significance import TASK, Ranks, p_in_words, rank, score_table
from craft_zoo.benchmarks.statistics import SPREAD, average_curves, few_seeds_warning, tidy
from craft_zoo.benchmarks.store import Point
from craft_zoo.counts import counted
from craft_zoo.files import OTHER_FOLDER, write_atomically, writing
from craft_zoo.methods import is_white_box
from craft_zoo.pages.render import render
from craft_zoo.printable import printable

_DASHES = ((0, (1, 2)), (0, (6, 3)), (0, (3, 2, 1, 2)), (0, (10, 3)))  # of reference lines
_FILTERS: dict[str, Callable[..., Any]] = {
    "svg": Markup,
    "cell": tables.text,
    "p": p_in_words,
    "markdown": tables.markdown,
    "escaped": markdown_cell,
}


class Task(NamedTuple):
    """A task's section of the page."""

    title: str
    figures: list[figures.ReportFigure]
    table: pd.DataFrame
    prices: pd.DataFrame | None
    price_figures: list[figures.ReportFigure]


def write_report(results: Results, folder: Path, title: str, *, paper: bool = False) -> Path:
    """Write ``report.html`` and ``report.md``, with ``figures/`` and ``tables/`` beside them.

    The HTML page is self-contained. The Markdown page shows the same tables and links to the
    images in ``figures/``.

    Args:
        results: as from :func:`craft_zoo.benchmarks.read_results`.
        folder: where to write; created if missing.
        title: title of the page.
        paper: write the figures also in the format of a paper, into ``figures/paper/``.

    Returns:
        The HTML page's path.

    Raises:
        CraftZooError: the folder cannot be written.
    """
    with writing(folder, OTHER_FOLDER):
        for part in ("figures", "tables", *["figures/paper"] * paper):
            (folder / part).mkdir(parents=True, exist_ok=True)
        content = _content(results, folder, title, paper)
        for name in ("html", "md"):
            text = render("craft_zoo.benchmarks.report", f"page.{name}", content, _FILTERS)
            write_atomically(folder / f"report.{name}", text)
    return folder / "report.html"


def _content(results: Results, folder: Path, title: str, paper: bool) -> dict[str, Any]:
    """Write the figures and tables, and return the variables of the page templates."""
    only_variants = all(results.names[run] for run in results.curves)
    main = {r: p for r, p in results.curves.items() if only_variants or not results.names[r]}
    variants = {r: p for r, p in results.curves.items() if r not in main}
    labels = label_runs(results.curves, results.names)
    datasets = name_datasets(results.curves)
    points = tidy(main, labels, datasets)
    average = average_curves(points)
    styles = _styles(average)
    scores, ranks = _over_tasks(points)
    drawings, sheets = figures.Drawings(folder / "figures", paper), folder / "tables"
    models = set(points["model"])
    draw = partial(figures.curves, styles=styles, out=drawings, models=models)
    pay = partial(figures.price_curves, styles=styles, out=drawings)
    tasks = list(_tasks(points, average, sheets, "accuracy", draw, pay))
    changed: list[Task] = []
    if variants:
        found = tidy(variants, labels, datasets)
        own = average_curves(found)
        styles |= line_styles(compared_lines(own))
        draw, pay = partial(draw, prefix="variants"), partial(pay, prefix="variants-price")
        changed = list(_tasks(found, own, sheets, "variants", draw, pay))
    sheet: dict[str, pd.DataFrame | None] = dict.fromkeys(("shots", "overview", "differences"))
    shots_figure, base, overall = None, None, []
    if points.groupby("dataset")["shots"].nunique().max() > 1:
        sheet["shots"] = tables.by_shots(points)
        shots_figure = figures.shots_plot(sheet["shots"], styles, drawings)
    if len(scores.columns) > 1 and len(scores.dropna()):
        base = _base(points, list(scores.columns))
        sheet["overview"] = tables.overview(scores, ranks)
        sheet["differences"] = tables.differences(scores, base)
        if ranks is not None:
            overall.append(figures.rank_plot(ranks, drawings))
        overall.append(figures.profile_plot(scores, styles, drawings))
    shared = _shared(points, scores)
    if len(shared):
        overall.append(figures.runtime_plot(_searched(shared), styles, drawings))
    sheet |= _comparisons(results, labels, datasets, points)
    sheet["costs"] = tables.costs(tidy(results.curves, labels, datasets))
    front, pareto_figure = tables.pareto(points), None
    if len(front) and front["per image"].nunique() > 1:
        sheet["pareto"] = front
        pareto_figure = figures.pareto_plot(front, styles, drawings)
    for name, table in sheet.items():
        if table is not None:
            tables.write(table, sheets, name)
    write_atomically(sheets / "paper.tex", tables.for_paper(points))
    return sheet | {
        "title": title,
        "conclusions": results.conclusions,
        "shots_figure": shots_figure,
        "pareto_figure": pareto_figure,
        "base": base,
        "overall": overall,
        "sources": list(SOURCES.values()),
        "facts": _facts(results, main),
        "spread": SPREAD,
        "reference": tables.REFERENCE,
        "notes": [printable(note) for note in _notes(results, scores, points)],
        "methods": [
            {"label": label, "id": line_id(label), "colour": styles[label]["color"]}
            for label in styles
        ],
        "tasks": tasks,
        "variants": changed,
        "runs": [
            _run(run, curve, labels[run], datasets[run].name)
            for run, curve in results.curves.items()
        ],
        "environment": json.dumps(results.environment, indent=1),
        "ranks": ranks,
    }


def _comparisons(
    results: Results,
    labels: dict[RunSpec, str],
    datasets: dict[RunSpec, DatasetName],
    points: pd.DataFrame,
) -> dict[str, pd.DataFrame | None]:
    """Tables of transfer to other data sets and of published accuracies; None if empty."""
    tried = tables.transfers(results.transfers, labels, datasets)
    models = {labels[run]: run.model for run in results.curves}
    published = tables.published(points, tried, models)
    names = distinguished(tried["tried on"]) | {each.key: each.name for each in datasets.values()}
    for column in ("tuned on", "tried on"):
        tried[column] = tried[column].map(names)
    found = {"transfers": tried, "published": published}
    return {name: table if len(table) else None for name, table in found.items()}


def _styles(average: pd.DataFrame) -> Styles:
    """Every line's style; reference lines (see ``is_level``) are grey in all figures."""
    styles = line_styles(compared_lines(average))
    levels = [label for label in average["label"].unique() if label not in styles]
    for label, dashes in zip(levels, itertools.cycle(_DASHES), strict=False):
        styles[label] = {"color": LEVEL_COLOUR, "linestyle": dashes}
    return styles


def _over_tasks(points: pd.DataFrame) -> tuple[pd.DataFrame, Ranks | None]:
    """Scores of the methods that were run on every task, and their ranks if comparable."""
    scores = score_table(points)
    somewhere = scores.groupby(level=TASK).count()
    whole = scores[[column for column in scores if (somewhere[column] > 0).all()]]
    ranked = len(somewhere) > 1 and len(whole.columns) > 1 and len(whole.dropna()) > 0
    return whole, rank(whole) if ranked else None


def _shared(points: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Points of the methods of ``scores``, of the tasks and seeds that all of these have."""
    pairs = pd.MultiIndex.from_frame(points[[*TASK, "seed"]])
    return points[points["label"].isin(scores.columns) & pairs.isin(scores.dropna().index)]


def _searched(points: pd.DataFrame) -> pd.DataFrame:
    """Points without white-box references, which make no queries, unless nothing else is left."""
    own = points[~points["method"].map(is_white_box)]
    return own if len(own) else points


def _base(points: pd.DataFrame, labels: Sequence[str]) -> str:
    """Label of the comparisons' baseline: CraFT as released, or else the first label."""
    methods = points.drop_duplicates("label").set_index("label")["method"]
    return next((label for label in labels if methods[label] == tables.REFERENCE), labels[0])


def _tasks(
    points: pd.DataFrame,
    average: pd.DataFrame,
    sheets: Path,
    prefix: str,
    draw: Callable[..., Iterator[figures.ReportFigure]],
    pay: Callable[..., Iterator[figures.ReportFigure]],
) -> Iterator[Task]:
    """Write each task's tables and figures.

    Args:
        points: of all tasks.
        average: their average curves.
        sheets: folder of the tables.
        prefix: beginning of the tables' file names.
        draw: draws average curves, see :func:`figures.curves`.
        pay: draws them against their price, see :func:`figures.price_curves`.
    """
    curves = average.groupby(TASK)
    tasks = points.groupby(TASK, sort=False)
    titles = {
        (dataset, shots): f"{name}, {counted(shots, 'shot')}"
        for (dataset, shots), name in tasks["data_name"].first().items()
    }
    files = file_names(titles.values())
    drawn = file_names(title for title, _, _ in panels(average))
    for task, mine in tasks:
        own, file = curves.get_group(task), files[titles[task]]
        table, prices = tables.accuracies(mine, own), tables.by_price(own)
        tables.write(table, sheets, f"{prefix}-{file}")
        if prices is not None:
            tables.write(prices, sheets, f"{prefix}-by-price-{file}")
        against_queries, against_price = draw(own, files=drawn), pay(own, files=drawn)
        yield Task(titles[task], list(against_queries), table, prices, list(against_price))


def _facts(results: Results, main: dict[RunSpec, list[Point]]) -> dict[str, str]:
    """Key facts of the grid for the head of the page, by name."""
    runs = list(results.curves)
    packages = results.environment.get("packages", {})
    tasks = dict.fromkeys(named.name for named in name_datasets(runs).values())
    finished = f"{len(runs)}" + (f" of {len(results.names)}" if results.missing else "")
    return {
        "model": ", ".join(dict.fromkeys(run.model for run in runs)),
        "data sets": ", ".join(tasks),
        "shots": ", ".join(str(n) for n in sorted({run.shots for run in main})),
        "seeds": ", ".join(str(n) for n in sorted({run.seed for run in runs})),
        "budget": ", ".join(f"{n:,}" for n in sorted({run.budget for run in main})) + " queries",
        "runs": finished,
        "machine": f"{results.environment.get('machine', '?')}, "
        f"{results.environment.get('cores', '?')} cores",
        "versions": ", ".join(
            f"{name} {packages[name]}" for name in ("craft-zoo", "torch") if name in packages
        ),
    }


def _notes(results: Results, scores: pd.DataFrame, points: pd.DataFrame) -> list[str]:
    """Notes about missing, excluded and unreadable runs."""
    notes = results.notes
    left_out = sorted(set(points["label"]) - set(scores.columns))
    if left_out:
        notes.append(f"Not run on every task, so not compared over all: {', '.join(left_out)}.")
    lacking = int(scores.isna().any(axis=1).sum())
    if lacking:
        notes.append(
            f"Of {len(scores)} pairs of task and seed {lacking} lack a method and are left out "
            f"where methods are compared over all tasks."
        )
    few = few_seeds_warning(points)
    return [*notes, few] if few else notes


def _run(run: RunSpec, points: list[Point], label: str, dataset: str) -> dict[str, Any]:
    """A run's row on the page; accuracy is in %."""
    end, config = points[-1], json.dumps(run.to_json(), indent=1)
    row = {"label": label, "task": f"{dataset}, {run.shots}", "seed": run.seed}
    row |= {"accuracy": 100 * end.accuracy, "queries": end.queries, "seconds": end.seconds}
    return row | {"command": command(run), "config": config}
