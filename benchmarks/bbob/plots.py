"""Plots of the share of targets reached against evaluations (ECDF of runtimes)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from craft_zoo.benchmarks.bbob.problems import GROUPS
from craft_zoo.benchmarks.bbob.runtimes import areas, ecdf
from craft_zoo.benchmarks.bbob.solvers import Solver
from craft_zoo.benchmarks.plots import COLOURS, MARKERS, label_ends, save

_DASHED: dict[str, Any] = {"linewidth": 1.3, "linestyle": (0, (3, 2))}


def plot_ecdf(runtimes: pd.DataFrame, solvers: Sequence[Solver], folder: Path) -> None:
    """Draw ``ecdf.png`` and ``ecdf.svg``: one ECDF per solver over all functions.

    Args:
        runtimes: of all ``solvers``, see :mod:`craft_zoo.benchmarks.bbob.runtimes`.
        solvers: the lines; a bare library's is dashed, in the colour of the optimizer wrapping it.
        folder: where to write.
    """
    figure, axis = plt.subplots(figsize=(7.6, 5.2), layout="constrained")
    _draw(axis, runtimes, solvers, top=_top(runtimes, solvers))
    axis.set_title(_title(runtimes), loc="left", fontsize=11)
    axis.set_ylabel("share of (function, instance, target) reached")
    save(figure, folder, "ecdf")


def plot_groups(runtimes: pd.DataFrame, solvers: Sequence[Solver], folder: Path) -> None:
    """Draw ``groups.png`` and ``groups.svg``: one panel per group of functions that was run.

    The arguments are those of :func:`plot_ecdf`.
    """
    panels = {}
    for name, functions in GROUPS.items():
        panel = runtimes[runtimes["function"].isin(functions)]
        if len(panel):
            panels[f"{name} (f{functions[0]}-f{functions[-1]})"] = panel
    top = max(_top(panel, solvers) for panel in panels.values())
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(6.6 * columns, 4.6 * rows), squeeze=False, layout="constrained"
    )
    for axis, (name, panel) in zip(axes.flat, panels.items(), strict=False):
        _draw(axis, panel, solvers, top=top)
        axis.set_title(name, loc="left", fontsize=11)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    figure.supylabel("share of (function, instance, target) reached", fontsize=10)
    save(figure, folder, "groups")


def _top(runtimes: pd.DataFrame, solvers: Sequence[Solver]) -> float:
    """Upper end of the share axis: a little above the highest curve."""
    ends = [ecdf(runtimes[runtimes["solver"] == solver.name])[1][-1] for solver in solvers]
    return min(1.0, max(0.1, 1.15 * max(ends)))


def _draw(axis: Axes, runtimes: pd.DataFrame, solvers: Sequence[Solver], *, top: float) -> None:
    specs = list(dict.fromkeys(solver.spec for solver in solvers))
    compared = any(solver.bare for solver in solvers)
    labels: list[tuple[float, str, str]] = []
    for solver in sorted(solvers, key=lambda solver: solver.bare):  # draw dashes over solid lines
        own = runtimes[runtimes["solver"] == solver.name]
        at, share = ecdf(own)
        number = specs.index(solver.spec)
        colour = COLOURS[number % len(COLOURS)]
        if solver.bare:
            axis.step(at, share, where="post", color=colour, **_DASHED)
            continue
        axis.step(
            at,
            share,
            where="post",
            color=colour,
            linewidth=1.8,
            # Fainter, so that the bare library's dashes stay visible where both lines coincide.
            alpha=0.5 if compared and Solver(solver.spec, bare=True) in solvers else 1,
            # When the colours repeat, the marker differs.
            marker=MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
            markersize=4.5,
            markevery=(0.04 * (number % 3), 0.12),
        )
        labels.append((float(share[-1]), f"{solver.spec}  {areas(own).mean():.2f}", colour))
    axis.set_ylim(0, top)
    label_ends(axis, labels)
    if compared:
        lines = [
            Line2D([], [], color="#555555", linewidth=1.8, label="craft-zoo"),
            Line2D([], [], color="#555555", label="bare library", **_DASHED),
        ]
        axis.legend(handles=lines, loc="upper left", frameon=False, fontsize=9)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlim(1, runtimes["budget"].iloc[0] / runtimes["dimension"].iloc[0])
    axis.set_xlabel("evaluations / dimension")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)


def _title(runtimes: pd.DataFrame) -> str:
    problems = len(runtimes[["function", "instance"]].drop_duplicates())
    return (
        f"BBOB, {runtimes['dimension'].iloc[0]} dimensions, {problems} problems "
        f"(at the right: area under the curve)"
    )
