"""Accuracy against queries."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from craft_zoo.benchmarks.grid import short_name

# Okabe & Ito's colours, ordered so that neighbours differ in lightness, and dashes: in grey print
# and for colour-blind readers the lines stay apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (4, 1)), (0, (1, 1)), "-")
_MARKERS = "osD^vPX"
_ZERO_SHOT = "zero-shot"


def plot_curves(curves: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw ``curves.png`` and ``curves.svg``: one panel for each data set and number of shots.

    Args:
        curves: as from :func:`craft_zoo.benchmarks.average_curves`.
        folder: where to write.

    Returns:
        The files written.
    """
    panels = list(curves.groupby(["dataset", "shots"], sort=False))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(7.2 * len(panels), 4.4), squeeze=False, layout="constrained"
    )
    for axis, ((dataset, shots), panel) in zip(axes[0], panels, strict=True):
        _draw_panel(axis, panel)
        axis.set_title(f"{short_name(str(dataset))}, {shots} shots", loc="left", fontsize=11)
    files = [folder / "curves.png", folder / "curves.svg"]
    # Without a date and with fixed ids in the SVG, the same result gives the same file.
    with plt.rc_context({"svg.hashsalt": "craft-zoo"}):
        for file in files:
            about = {"Date": None} if file.suffix == ".svg" else None
            figure.savefig(file, dpi=160, metadata=about)
    plt.close(figure)
    return files


def _draw_panel(axis: Axes, panel: pd.DataFrame) -> None:
    right = max(float(panel["queries"].max()), 1.0)
    labels: list[tuple[float, str, str]] = []
    style = 0
    for label, curve in panel.groupby("label", sort=False):
        accuracy = 100 * curve["accuracy"].to_numpy()
        queries = curve["queries"].to_numpy(dtype=float)
        low, high = 100 * curve["low"].to_numpy(), 100 * curve["high"].to_numpy()
        if label == _ZERO_SHOT:
            colour = "#555555"
            axis.axhline(accuracy[-1], color=colour, linewidth=1, linestyle=(0, (1, 2)))
        else:
            colour, dash = _COLOURS[style % len(_COLOURS)], _DASHES[style % len(_DASHES)]
            marker = _MARKERS[style % len(_MARKERS)]
            style += 1
            if len(queries) == 1:  # spent all its queries at once, and stays there
                queries, accuracy = np.array([queries[0], right]), np.repeat(accuracy, 2)
                low, high = np.repeat(low, 2), np.repeat(high, 2)
            axis.plot(
                queries,
                accuracy,
                color=colour,
                linestyle=dash,
                linewidth=1.8,
                marker=marker,
                markersize=4,
                markevery=max(1, len(queries) // 8),
            )
            if np.isfinite(low).all():
                axis.fill_between(queries, low, high, color=colour, alpha=0.15, linewidth=0)
        labels.append((float(accuracy[-1]), f"{label}  {accuracy[-1]:.1f}", colour))
    axis.set_xlim(0, right)
    axis.margins(y=0.06)
    _label_ends(axis, labels)
    axis.set_xlabel("queries (contexts scored on the training images)")
    axis.set_ylabel("test accuracy (%)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)


def _label_ends(axis: Axes, labels: list[tuple[float, str, str]]) -> None:
    """Name each line at its right end, pushed apart where two would overlap."""
    bottom, top = axis.get_ylim()
    gap = 0.055 * (top - bottom)
    labels = sorted(labels)
    places = [height for height, _, _ in labels]
    for _ in range(200):  # neighbours that overlap yield by equal shares until none does
        for i in range(len(places) - 1):
            overlap = gap - (places[i + 1] - places[i])
            if overlap > 0:
                places[i] -= overlap / 2
                places[i + 1] += overlap / 2
    for (height, text, colour), at in zip(labels, places, strict=True):
        axis.annotate(
            text,
            xy=(1, height),
            xycoords=("axes fraction", "data"),
            xytext=(1.02, at),
            textcoords=("axes fraction", "data"),
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )
