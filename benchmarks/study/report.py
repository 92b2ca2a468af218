"""The study's files for people: tables, figures and the page that holds them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.names import file_names, markdown_cell
from craft_zoo.benchmarks.plots import plot_curves
from craft_zoo.benchmarks.results import write_config
from craft_zoo.benchmarks.statistics import SPREAD, average_curves, few_seeds, tidy
from craft_zoo.benchmarks.store import Point, environment
from craft_zoo.benchmarks.study.figures import plot_shots
from craft_zoo.benchmarks.study.tables import REFERENCE, accuracy_table, markdown, shots_table
from craft_zoo.files import write_atomically

Curves = Mapping[RunSpec, Sequence[Point]]


def write_report(
    main: Curves,
    ablations: Curves,
    names: Mapping[RunSpec, str],
    costs: pd.DataFrame,
    deployment: pd.DataFrame,
    folder: Path,
) -> Path:
    """Write ``study.md`` with its figures and, as CSV, all that is in its tables.

    Args:
        main: the points of the main grid's runs.
        ablations: of the ablations' runs.
        names: of the ablations.
        costs: as from :func:`measure_costs`.
        deployment: as from :func:`measure_deployment`.
        folder: an existing folder.

    Returns:
        The page's path.
    """
    points = tidy(main)
    parts = [_head(main, points)]
    files = file_names(points["data_name"].unique())
    few = shots_table(points)
    for shots in sorted(points["shots"].unique(), reverse=True):
        table = accuracy_table(points, shots)
        _csv(table, folder, f"accuracy-{shots}-shots")
        parts.append(f"## {shots} shots\n\n{_ACCURACY}")
        for _, mine in points[points["shots"] == shots].groupby("dataset", sort=False):
            name = mine["data_name"].iloc[0]
            title = f"{markdown_cell(name)}, {shots} shots"
            file = f"{files[name]}-{shots}-shots"
            plot_curves(average_curves(mine), folder, name=file, logarithmic=True)
            rows = table[table["data set"] == name].drop(columns="data set")
            rows = rows.dropna(axis="columns", how="all")
            parts.append(
                f"### {title}\n\n{markdown(_whole(rows))}\n\n"
                f"![Accuracy against queries, {title}]({file}.png)"
            )
    _csv(few, folder, "shots")
    plot_shots(few, folder)
    parts.append(
        f"## From few shots to many\n\n{_SHOTS}\n\n{markdown(few)}\n\n"
        f"![Accuracy against shots](shots.png)"
    )
    if ablations:
        labelled = tidy(ablations, names)
        table = accuracy_table(labelled, int(labelled["shots"].iloc[0])).drop(columns="reaches")
        _csv(table, folder, "ablations")
        budget = int(labelled["budget"].iloc[0])
        parts.append(f"## Ablations\n\n{_ABLATIONS.format(budget=budget)}\n\n{markdown(table)}")
    _csv(costs, folder, "costs")
    parts.append(f"## Memory and time\n\n{_COSTS}\n\n{markdown(costs)}")
    _csv(deployment, folder, "deployment")
    if len(deployment):
        words = {"name": "adapter of", "adapter": "file", "white_box": "model"}
        shown = markdown(deployment.rename(columns=words), digits=2)
        parts.append(f"## Deployed\n\n{_DEPLOYED}\n\n{shown}")
    write_atomically(folder / "curves.csv", points.to_csv(index=False))
    write_config({**main, **ablations}, folder, names)
    page = folder / "study.md"
    write_atomically(page, "\n\n".join(parts) + "\n")
    return page


def _head(curves: Curves, points: pd.DataFrame) -> str:
    runs = list(curves)
    seeds, model = sorted({run.seed for run in runs}), runs[0].model
    about = environment()
    return (
        f"# The study\n\nMade by `craft-zoo study`; do not edit. Model {model}, seeds "
        f"{', '.join(map(str, seeds))}, {about['cores']} cores ({about['machine']}), "
        f"{about['threads']} thread(s), "
        f"torch {about['packages']['torch']}. Accuracies are on the test images, in %, means over "
        f"the seeds. White-box references look into the model and make no query. "
        f"{few_seeds(points)}"
    ).strip()


_ACCURACY = (
    "Accuracy after so many queries, in order of the area under the curve. `95 % or seeds`: "
    f"at the end; {SPREAD}. `reaches`: queries after which the mean is what {REFERENCE} ends at. "
    "`per image`: predictions that a deployed image costs. `seconds`: a run's, beside whatever "
    "else the machine did. In the figure zero-shot and white-box references are level lines."
)
_SHOTS = (
    "Accuracy at the end of the budget. `worst`: of all single runs, the least difference from "
    "zero-shot."
)
_ABLATIONS = (
    "What each part is worth: one thing changed at a time, {budget:,} queries; "
    "`anchors` with other numbers of them."
)
_COSTS = (
    "Measured in runs of their own: megabytes at the peak beyond what the process held with model "
    "and data set open, and seconds, one run after another."
)
_DEPLOYED = (
    "What predicting a batch takes on the client's side, MB at the peak: with the adapter and what "
    "the black box returns, and with the model itself."
)


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    """Counts without decimals."""
    shown = table.copy()
    for column in {"reaches", "seconds"} & set(shown.columns):
        shown[column] = [f"{value:,.0f}" if value == value else "" for value in shown[column]]
    return shown


def _csv(table: pd.DataFrame, folder: Path, name: str) -> None:
    write_atomically(folder / f"{name}.csv", table.to_csv(index=False))
