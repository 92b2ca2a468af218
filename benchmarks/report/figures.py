"""Figures of the report, each as files for a paper and as inline SVG for the page."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from craft_zoo.benchmarks.plots import (
    LEVEL_COLOUR,
    NO_DATE,
    PRICE,
    QUERIES,
    Styles,
    draw_panel,
    is_level,
    label_ends,
    line_id,
    panels,
    sanitized,
    save,
    scale_queries,
    spread_words,
    style_axis,
)
from craft_zoo.benchmarks.profiles import performance_profile, reached, runtimes
from craft_zoo.benchmarks.published import accuracies_for
from craft_zoo.benchmarks.report.paper import write_for_paper
from craft_zoo.benchmarks.significance import Ranks
from craft_zoo.benchmarks.statistics import priced
from craft_zoo.counts import counted

_SIZE = (7.4, 4.4)
_FORMATS = ("png", "svg", "pdf")
_STEPS = 60
_COLUMNS = 3  # of panels
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # of predictions an image


class ReportFigure(NamedTuple):
    """A figure."""

    name: str  # of its files, without their suffixes
    title: str  # caption
    svg: str  # inline SVG with text as text (not paths) and ids unique within the page


class Drawings(NamedTuple):
    """Where and how figures are written."""

    folder: Path
    paper: bool = False  # also in the format of a paper, in the folder paper/


def curves(
    average: pd.DataFrame,
    styles: Styles,
    out: Drawings,
    models: Collection[str],
    files: Mapping[str, str],
    prefix: str = "curves",
) -> Iterator[ReportFigure]:
    """Accuracy against queries, one figure per task and track; crosses are published accuracies.

    Only the accuracies published for ``models`` are drawn. ``files`` maps the title of a panel to
    a part of its file name, which begins with ``prefix``.
    """
    for title, panel, right in panels(average):
        figure, axis = _figure()
        draw_panel(axis, panel, right, styles)
        _add_published(axis, panel, models)
        scale_queries(axis)
        axis.set_xlabel(QUERIES)
        caption = f"{title}. Lines: means over seeds; {spread_words(panel)}"
        yield _save(figure, out, f"{prefix}-{files[title]}", caption)


def price_curves(
    average: pd.DataFrame,
    styles: Styles,
    out: Drawings,
    files: Mapping[str, str],
    prefix: str = "price",
) -> Iterator[ReportFigure]:
    """Accuracy against the price of search and refiner, one figure per task and track.

    Lines whose price is not known are left out, and figures in which nothing has one.
    """
    for title, panel, _ in panels(average):
        levels, known = is_level(panel), priced(panel)
        costs = panel[known & ~levels]["cost"]
        if not (costs > 0).any():
            continue
        figure, axis = _figure()
        draw_panel(axis, panel[known | levels], float(costs.max()), styles, "cost")
        first = 10.0 ** math.floor(math.log10(costs[costs > 0].min()))  # the first tick behind 0
        axis.set_xscale("symlog", linthresh=first, linscale=0.4)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel(PRICE)
        caption = f"{title}. The same lines against their mean price so far"
        yield _save(figure, out, f"{prefix}-{files[title]}", caption)


def _add_published(axis: Axes, panel: pd.DataFrame, models: Collection[str]) -> None:
    """Mark the accuracies published for the panel's task and the given models."""
    task = panel.iloc[0]
    known = accuracies_for(str(task["dataset"]), int(task["shots"]))
    queried = known["model"].isin(models) & (known["access"] != "white box")
    for _, row in known[queried].iterrows():
        place = float(row["queries"]), 100 * float(row["accuracy"])
        axis.plot(*place, "x", color=LEVEL_COLOUR, markersize=7, markeredgewidth=1.6, zorder=5)
        name = f"{row['method']}, published"
        axis.annotate(
            sanitized(name), place, xytext=(-6, 6), textcoords="offset points", ha="right", size=8
        )


def shots_plot(table: pd.DataFrame, styles: Styles, out: Drawings) -> ReportFigure:
    """Accuracy at the end of the budget against shots, of a table from ``by_shots``."""
    names = list(table["data set"].unique())
    shots = [column for column in table.columns if column.isdigit()]
    figure, axes = plt.subplots(
        1, len(names), figsize=(6.4 * len(names), _SIZE[1]), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes[0], names, strict=True):
        ends, ids = [], {}
        for _, row in table[table["data set"] == name].iterrows():
            style, values = styles[row["method"]], row[shots].astype(float)
            gid = line_id(row["method"])
            axis.plot(range(len(shots)), values, **style, linewidth=1.6, markersize=4, gid=gid)
            if values.notna().iloc[-1]:
                text = f"{row['method']}  {values.iloc[-1]:.1f}"
                ids[text] = gid
                ends.append((values.iloc[-1], text, style["color"]))
        axis.set_title(sanitized(name), loc="left", fontsize=11)
        axis.set_xticks(range(len(shots)), shots)
        axis.set_xlabel("shots (training images a class)")
        axis.set_ylabel("test accuracy (%)")
        style_axis(axis)
        label_ends(axis, ends, ids)
    return _save(figure, out, "shots", "Accuracy at the end of the budget against shots")


def pareto_plot(table: pd.DataFrame, styles: Styles, out: Drawings) -> ReportFigure:
    """Accuracy against the cost of a deployed image, of a table from ``pareto``.

    One panel per task; the line is the highest accuracy for at most that cost.
    """
    tasks = list(table.groupby(["data set", "shots"], sort=False))
    columns = min(len(tasks), _COLUMNS)
    rows = -(-len(tasks) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(4.6 * columns + 2.6, 3.6 * rows),
        squeeze=False,
        layout="constrained",
    )
    right = 1.3 * table["per image"].max()
    for axis, ((name, shots), task) in zip(axes.flat, tasks, strict=False):
        front = task[task["on the front"] == "yes"]
        best = [*front["accuracy"], front["accuracy"].iloc[-1]]
        drawing: dict[str, Any] = {"color": LEVEL_COLOUR, "linewidth": 1}
        axis.plot([*front["per image"], right], best, drawstyle="steps-post", **drawing)
        for _, row in task.iterrows():
            style = {"marker": "o", **styles[row["method"]], "linestyle": "none"}
            place = row["per image"], row["accuracy"]
            axis.plot(*place, **style, markersize=7, gid=line_id(row["method"]))
        scale_queries(axis)  # linear below 1, as local features alone cost no prediction
        free = bool(table["per image"].min() < 1)
        axis.set_xlim(-0.15 if free else 0.85, right)
        axis.set_xticks([*[0] * free, *(tick for tick in _TICKS if tick <= right)])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_title(f"{sanitized(name)}, {counted(shots, 'shot')}", loc="left", fontsize=11)
        axis.set_xlabel("predictions for a deployed image")
        axis.set_ylabel("test accuracy (%)")
        style_axis(axis)
    for axis in axes.flat[len(tasks) :]:
        axis.set_axis_off()
    names = list(table["method"].unique())
    points = [
        Line2D([], [], **{"marker": "o", **styles[name], "linestyle": "none"}) for name in names
    ]
    _add_legend(axes[0, -1], points, names)
    words = "Accuracy at the end of the budget against what a deployed image costs. Line: the "
    return _save(figure, out, "pareto", words + "highest accuracy for at most this cost")


def rank_plot(ranks: Ranks, out: Drawings) -> ReportFigure:
    """Average ranks; two methods whose bars do not overlap differ (Nemenyi; Demšar 2006)."""
    order = ranks.ranks.sort_values(ascending=False)
    figure, axis = _figure((_SIZE[0], 0.9 + 0.26 * len(order)))
    half = ranks.critical_difference / 2
    for place, rank in enumerate(order):
        axis.plot([rank - half, rank + half], [place, place], color="#56B4E9", linewidth=4)
        axis.plot(rank, place, "o", color="#0072B2", markersize=6)
    axis.set_yticks(
        range(len(order)), [sanitized(f"{label}  {rank:.2f}") for label, rank in order.items()]
    )
    axis.tick_params(axis="y", length=0)
    axis.set_xlim(0.5, len(order) + 0.5)
    axis.set_xlabel(f"average rank over {ranks.tasks} tasks, 1 is the best")
    axis.spines[["top", "right", "left"]].set_visible(False)
    return _save(figure, out, "ranks", "Average ranks: where bars do not overlap, methods differ")


def profile_plot(scores: pd.DataFrame, styles: Styles, out: Drawings) -> ReportFigure:
    """Performance profile: share of the runs that score above a threshold."""
    values = scores.dropna().to_numpy()
    thresholds = np.linspace(np.floor(20 * values.min()) / 20, np.ceil(20 * values.max()) / 20, 200)
    table = performance_profile(scores, list(thresholds))
    figure, axis = _figure()
    _draw_shares(axis, 100 * table.index, table, styles, markevery=25)
    axis.set_xlabel("test accuracy above (%)")
    return _save(figure, out, "profile", "Performance profile: share of runs above an accuracy")


def runtime_plot(points: pd.DataFrame, styles: Styles, out: Drawings) -> ReportFigure:
    """Share of (run, target) pairs reached against queries, see :func:`reached`."""
    most = float(points["queries"].max())
    queries = np.unique(np.append(0, np.geomspace(1, max(most, 2), _STEPS)).round())
    table = reached(runtimes(points), list(queries))
    figure, axis = _figure()
    scale_queries(axis)
    _draw_shares(axis, queries, table, styles, markevery=8, drawstyle="steps-post")
    axis.set_xlabel("queries")
    return _save(figure, out, "runtimes", "Share of (run, target) pairs reached within queries")


def _draw_shares(
    axis: Axes, at: np.ndarray, shares: pd.DataFrame, styles: Styles, **drawing: Any
) -> None:
    """Draw a line per column and a legend."""
    drawing |= {"linewidth": 1.6, "markersize": 4}
    for label in shares:
        axis.plot(at, 100 * shares[label], **styles[str(label)], **drawing, gid=line_id(str(label)))
    axis.set_ylabel("share (%)")
    axis.set_ylim(-2, 102)
    style_axis(axis)
    _add_legend(axis, axis.get_lines(), [str(label) for label in shares])


def _add_legend(axis: Axes, lines: Sequence[Line2D], labels: Sequence[str]) -> None:
    """Add a legend at the right of the axis."""
    # Matplotlib omits labels that begin with an underscore, so the texts are set afterwards.
    legend = axis.legend(
        lines,
        [f"line {i}" for i in range(len(lines))],
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize=9,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(sanitized(label))
        text.set_gid(line_id(label))


def _figure(size: tuple[float, float] = _SIZE) -> tuple[Figure, Axes]:
    return plt.subplots(figsize=size, layout="constrained")


def _save(figure: Figure, out: Drawings, name: str, title: str) -> ReportFigure:
    """Write the figure's files and return its inline SVG for the page."""
    save(figure, out.folder, name, _FORMATS)
    page = io.StringIO()
    with plt.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(page, format="svg", transparent=True, metadata=NO_DATE["svg"])
    if out.paper:
        write_for_paper(figure, out.folder / "paper", name)
    return ReportFigure(name, title, _for_page(page.getvalue(), name, title))


def _for_page(svg: str, name: str, title: str) -> str:
    """Make an SVG embeddable in HTML: lines as classes, page-wide unique ids, no fixed size."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="(line-[0-9a-f]{8})">', r'<g class="\1">', svg)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    # The remaining ids belong to definitions. Prefix them, as other figures may use the same ids.
    used = set(re.findall(r'id="([^"]+)"', svg))
    for identity in used:
        svg = re.sub(rf'(id="|#){re.escape(identity)}(?=["\)])', rf"\g<1>{name}-{identity}", svg)
    for size in ("height", "width"):
        svg = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
