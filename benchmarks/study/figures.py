"""The study's figure of accuracy against shots; its curves are the bench's."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from craft_zoo.benchmarks.plots import drawn, label_ends, line_styles, save, style_axis


def plot_shots(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw ``shots.png`` and ``shots.svg``: accuracy at the end against shots.

    Args:
        table: as from :func:`shots_table`.
        folder: where to write.

    Returns:
        The files written.
    """
    shots = [column for column in table.columns if column.isdigit()]
    shots.sort(key=int)
    names = list(table["data set"].unique())
    figure, axes = plt.subplots(
        1, len(names), figsize=(6.4 * len(names), 4.6), squeeze=False, layout="constrained"
    )
    styles = line_styles(list(table["method"].unique()))
    for axis, name in zip(axes[0], names, strict=True):
        ends = []
        for _, row in table[table["data set"] == name].iterrows():
            style = styles[row["method"]]
            values = row[shots].astype(float)
            axis.plot(range(len(shots)), values, **style, linewidth=1.6, markersize=4)
            if values.notna().iloc[-1]:
                text = f"{row['method']}  {values.iloc[-1]:.1f}"
                ends.append((values.iloc[-1], text, style["color"]))
        axis.set_title(drawn(name), loc="left", fontsize=11)
        axis.set_xticks(range(len(shots)), shots)
        axis.set_xlabel("shots (training images a class)")
        axis.set_ylabel("test accuracy (%)")
        style_axis(axis)
        label_ends(axis, ends)
    return save(figure, folder, "shots")
