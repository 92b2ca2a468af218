"""HTML and Markdown pages of the report."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd
from markupsafe import Markup

from craft_zoo.benchmarks.grid import NO_OPTIMIZER, RunSpec, label_runs
from craft_zoo.benchmarks.names import (
    DatasetName,
    distinguished,
    file_names,
    markdown_cell,
    name_datasets,
)
from craft_zoo.benchmarks.plots import (
    LEVEL_COLOUR,
    compared_lines,
    line_id,
    line_styles,
    panels,
)
from craft_zoo.benchmarks.published import SOURCES
from craft_zoo.benchmarks.report import figures, tables
from craft_zoo.benchmarks.results import Results
from craft_zoo.benchmarks.significance import Ranks, rank, score_table
from craft_zoo.benchmarks.statistics import SPREAD, average_curves, few_seeds_warning, tidy
from craft_zoo.benchmarks.store import Point
from craft_zoo.craft import CraftConfig
from craft_zoo.errors import CraftZooError
from craft_zoo.files import write_atomically
from craft_zoo.methods import is_white_box
from craft_zoo.openclip import former_settings, with_activation
from craft_zoo.printable import printable

_DASHES = ((0, (1, 2)), (0, (6, 3)), (0, (3, 2, 1, 2)), (0, (10, 3)))  # of reference lines


class Task(NamedTuple):
    """A task's section of the page."""

    title: str
    figures: list[figures.Drawn]
    table: pd.DataFrame


class Run(NamedTuple):
    """A run's row on the page; accuracy is in %."""

    label: str
    task: str
    seed: int
    accuracy: float
    queries: int
    seconds: float
    command: str
    config: str


def write_report(results: Results, folder: Path, title: str) -> Path:
    """Write ``report.html`` and ``report.md``, with ``figures/`` and ``tables/`` beside them.

    The HTML page is self-contained. The Markdown page shows the same tables and links to the
    images in ``figures/``.

    Args:
        results: as from :func:`craft_zoo.benchmarks.read_results`.
        folder: where to write; created if missing.
        title: title of the page.

    Returns:
        The HTML page's path.

    Raises:
        CraftZooError: the folder cannot be written.
    """
    try:
        for part in ("figures", "tables"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        content = _content(results, folder, title)
        for name in ("html", "md"):
            text = _render(f"page.{name}", content)
            # Undecodable bytes of a path are surrogates, which UTF-8 cannot encode.
            text = text.encode("utf-8", "backslashreplace").decode()
            write_atomically(folder / f"report.{name}", text)
    except OSError as error:
        raise CraftZooError(
            f"cannot write to {folder} ({error.strerror or error}): choose another folder (--out)"
        ) from None
    return folder / "report.html"


def _content(results: Results, folder: Path, title: str) -> dict[str, Any]:
    """Write the figures and tables, and return the variables of the page templates."""
    named = any(results.names[run] == "" for run in results.curves)
    main = {r: p for r, p in results.curves.items() if results.names[r] == "" or not named}
    variants = {r: p for r, p in results.curves.items() if r not in main}
    labels = label_runs(results.curves, results.names)
    datasets = name_datasets(results.curves)
    points = tidy(main, labels, datasets)
    average = average_curves(points)
    styles = _styles(average)
    scores, ranks = _over_tasks(points)
    drawings, sheets = folder / "figures", folder / "tables"
    models = set(points["model"])
    files = file_names(title for title, _, _ in panels(average))
    tasks = [
        task._replace(figures=list(figures.curves(mine, styles, drawings, models, files)))
        for task, mine in _tasks(points, average, sheets, "accuracy")
    ]
    shared: dict[str, Any] = {"overview": None, "differences": None, "overall": [], "shots": None}
    if points.groupby("dataset")["shots"].nunique().max() > 1:
        shared["shots"] = tables.by_shots(points)
        tables.write(shared["shots"], sheets, "shots")
        shared["shots_figure"] = figures.shots_plot(shared["shots"], styles, drawings)
    if len(scores.columns) > 1 and len(scores.dropna()):
        shared["overview"] = tables.overview(scores, ranks)
        tables.write(shared["overview"], sheets, "overview")
        base = _base(points, list(scores.columns))
        shared |= {"base": base, "differences": tables.differences(scores, base)}
        tables.write(shared["differences"], sheets, "differences")
        if ranks is not None:
            shared["overall"].append(figures.rank_plot(ranks, drawings))
        shared["overall"].append(figures.profile_plot(scores, styles, drawings))
    shared["overall"].append(figures.runtime_plot(_searched(points), styles, drawings))
    shared |= _beside_others(results, labels, datasets, points, sheets)
    costs = tables.costs(points)
    tables.write(costs, sheets, "costs")
    return shared | {
        "title": title,
        "facts": _facts(results, main),
        "spread": SPREAD,
        "reference": tables.REFERENCE,
        "notes": [printable(note) for note in _notes(results, scores, points)],
        "methods": [
            {"label": label, "id": line_id(label), "colour": styles[label]["color"]}
            for label in styles
        ],
        "tasks": tasks,
        "variants": _variants(tidy(variants, labels, datasets), sheets) if variants else [],
        "costs": costs,
        "runs": [
            _run(run, curve, labels[run], datasets[run].name)
            for run, curve in results.curves.items()
        ],
        "environment": json.dumps(results.environment, indent=1),
        "ranks": ranks,
    }


def _render(template: str, content: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=template.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "svg": Markup,
        "cell": tables.text,
        "markdown": tables.markdown,
        "escaped": markdown_cell,
    }
    environment.globals["cells"] = lambda table, row: list(zip(table.columns, row, strict=True))
    return environment.get_template(template).render(content)


def _beside_others(
    results: Results,
    labels: dict[RunSpec, str],
    datasets: dict[RunSpec, DatasetName],
    points: pd.DataFrame,
    sheets: Path,
) -> dict[str, Any]:
    """Write the tables of transfer to other data sets and of published accuracies."""
    tried = None
    if results.transfers:
        tried = tables.transfers(results.transfers, labels, datasets)
    published = tables.published(points, tried)
    if tried is not None:
        names = {each.key: each.name for each in datasets.values()}
        names = distinguished(tried["tried on"]) | names
        for column in ("tuned on", "tried on"):
            tried[column] = tried[column].map(names)
    found = {"transfers": tried, "published": published if len(published) else None}
    for name, table in found.items():
        if table is not None:
            tables.write(table, sheets, name)
    return found | {"sources": list(SOURCES.values())}


def _styles(average: pd.DataFrame) -> figures.Styles:
    """Every line's style; reference lines (see ``is_level``) are grey in all figures."""
    styles = line_styles(compared_lines(average))
    levels = [label for label in average["label"].unique() if label not in styles]
    for label, dashes in zip(levels, itertools.cycle(_DASHES), strict=False):
        styles[label] = {"color": LEVEL_COLOUR, "linestyle": dashes}
    return styles


def _template(name: str) -> str:
    return (resources.files("craft_zoo.benchmarks.report") / name).read_text(encoding="utf-8")


def _over_tasks(points: pd.DataFrame) -> tuple[pd.DataFrame, Ranks | None]:
    """Scores of the methods that were run on every task, and their ranks if comparable."""
    scores = score_table(points)
    somewhere = scores.groupby(level=["dataset", "shots"]).count()
    whole = scores[[column for column in scores if (somewhere[column] > 0).all()]]
    ranked = len(somewhere) > 1 and len(whole.columns) > 1 and len(whole.dropna()) > 0
    return whole, rank(whole) if ranked else None


def _searched(points: pd.DataFrame) -> pd.DataFrame:
    """Points without white-box references, which make no queries, unless nothing else is left."""
    own = points[~points["method"].map(is_white_box)]
    return own if len(own) else points


def _base(points: pd.DataFrame, labels: Sequence[str]) -> str:
    """Label of the comparisons' baseline: CraFT as released, or else the first label."""
    methods = points.drop_duplicates("label").set_index("label")["method"]
    return next((label for label in labels if methods[label] == tables.REFERENCE), labels[0])


def _tasks(
    points: pd.DataFrame, average: pd.DataFrame, sheets: Path, prefix: str
) -> Iterator[tuple[Task, pd.DataFrame]]:
    """Write each task's table, and yield the task with its average curves."""
    curves = dict(list(average.groupby(["dataset", "shots"], sort=False)))
    tasks = dict(list(points.groupby(["dataset", "shots"], sort=False)))
    titles = {
        (
            dataset,
            shots,
        ): f"{mine['data_name'].iloc[0]}, {shots} {'shot' if shots == 1 else 'shots'}"
        for (dataset, shots), mine in tasks.items()
    }
    files = file_names(titles.values())
    for task, mine in tasks.items():
        table = tables.accuracies(mine, curves[task])
        tables.write(table, sheets, f"{prefix}-{files[titles[task]]}")
        yield Task(titles[task], [], table), curves[task]


def _variants(points: pd.DataFrame, sheets: Path) -> list[Task]:
    """Write the tables of named variants (ablations)."""
    return [task for task, _ in _tasks(points, average_curves(points), sheets, "variants")]


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
    notes = list(results.broken)
    if results.missing:
        notes.append(f"{len(results.missing)} runs of the grid are not finished and left out.")
    if results.others:
        notes.append(f"{len(results.others)} runs in the folder are of other grids and left out.")
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


def _run(run: RunSpec, points: list[Point], label: str, dataset: str) -> Run:
    return Run(
        label=label,
        task=f"{dataset}, {run.shots}",
        seed=run.seed,
        accuracy=100 * points[-1].accuracy,
        queries=points[-1].queries,
        seconds=points[-1].seconds,
        command=command(run),
        config=json.dumps(run.to_json(), indent=1),
    )


def command(run: RunSpec) -> str:
    """Shell command that repeats a run."""
    model, _, pretrained = run.model.partition("@")
    if before := former_settings(run.model):  # this name uses another activation by now
        model = with_activation(model, before[1].quick_gelu)
    words = ["craft-zoo", "bench", "--model", model]
    words += ["--pretrained", pretrained] if pretrained else []
    spec = run.dataset
    words += ["--dataset", spec.name]
    words += ["--classnames", spec.classnames] if spec.classnames else []
    words += ["--method", run.method]
    words += [] if run.optimizer == NO_OPTIMIZER else ["--optimizer", run.optimizer]
    words += ["--shots", str(run.shots), "--seed", str(run.seed), "--budget", str(run.budget)]
    given = asdict(run.config)
    words += ["--data-root", spec.root] if spec.root else []
    words += ["--skip-bad"] if spec.skip_bad else []
    words += [] if spec.sampling == "uniform" else ["--sampling", spec.sampling]
    words += [] if spec.fewer == "error" else ["--fewer", spec.fewer]
    words += [] if run.measured_on == "test" else ["--measured-on", run.measured_on]
    for name in run.transfer:
        words += ["--transfer", name]
    own = given.pop("own")
    defaults = {field.name: field.default for field in fields(CraftConfig)}
    changed = [(name, value) for name, value in given.items() if value != defaults[name]]
    for name, value in (*changed, *own):
        words += ["--set", f"{name}={value}"]
    return shlex.join(words)
