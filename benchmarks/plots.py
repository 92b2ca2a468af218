"""Plots of test accuracy against queries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from craft_zoo.benchmarks.names import shortened
from craft_zoo.benchmarks.significance import DIGITS
from craft_zoo.benchmarks.statistics import INTERVAL, ONE_PREDICTION, SINGLE_SEEDS
from craft_zoo.counts import counted
from craft_zoo.files import replacing
from craft_zoo.printable import coded, printable

# Okabe & Ito's colours and three of Tol's. Neighbours differ in lightness and dash pattern, so the
# lines stay distinguishable in grey print and for colour-blind readers.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"),
    *("#882255", "#999933", "#44AA99"),
)
_DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (4, 1)), (0, (1, 1)), "-")
LEVEL_COLOUR = "#555555"  # of horizontal reference lines, see is_level
MARKERS = "osD^vPX"
END = "end of a line"  # label of the texts of label_ends
QUERIES = "queries (contexts scored on the training images)"
PRICE = "price of search and refiner"
NO_DATE: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
Styles = dict[str, dict[str, Any]]  # label → arguments of Matplotlib for its line
_RANKED = 3  # least number of lines for a panel of ranks
_RANKINGS = 10  # numbers of queries at which the panel ranks the lines
_ZERO_SHOT = "zero-shot"
# Fallback fonts, used where installed, for characters that Matplotlib's own font lacks.
_OTHER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("Microsoft YaHei", "PingFang SC", "Hiragino Sans", "Arial Unicode MS", "Noto Sans"),
)
FONTS = [
    "DejaVu Sans",
    *sorted({font.name for font in fontManager.ttflist} & {*_OTHER_FONTS}, key=_OTHER_FONTS.index),
]
plt.rcParams["font.family"] = FONTS


def sanitized(name: str) -> str:
    r"""Sanitize a name for Matplotlib; every drawn name must pass through this function.

    Escapes ``$``, writes characters that no font has as code points (``\u6a21``), and omits the
    middle of a very long name.
    """
    known = _drawable()
    seen = "".join(
        sign if ord(sign) in known else coded(sign) for sign in shortened(printable(name))
    )
    return seen.replace("$", r"\$")


@cache
def _drawable() -> frozenset[int]:
    """The code points that the fonts cover."""
    paths = [findfont(FontProperties(family=name)) for name in FONTS]
    return frozenset().union(*(get_font(path).get_charmap() for path in paths))


def plot_curves(curves: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw ``curves.png`` and ``curves.svg``: one panel per data set, number of shots and track.

    One track holds methods that need one prediction per deployed image, one holds methods with
    anchors, which need more; methods that need a model's vectors, or features computed on this
    machine, have one each. The unadapted model (zero-shot) and white-box references are horizontal
    lines in all. With 3 lines or more, a panel below shows their ranks over the queries. Bands are
    intervals; with fewer than 5 seeds thin lines show the single seeds.

    Args:
        curves: as from :func:`craft_zoo.benchmarks.average_curves`.
        folder: where to write.

    Returns:
        The files written.
    """
    shown = list(panels(curves))
    most = max(len(compared_lines(panel)) for _, panel, _ in shown)
    heights = [max(4.4, 0.3 * most)]
    if most >= _RANKED:
        heights.append(0.8 + 0.16 * most)
    figure, axes = plt.subplots(
        len(heights),
        len(shown),
        figsize=(7.2 * len(shown), sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for column, (title, panel, right) in zip(axes.T, shown, strict=True):
        styles = line_styles(compared_lines(panel))
        draw_panel(column[0], panel, right, styles)
        column[0].set_title(sanitized(title), loc="left", fontsize=11)
        if len(column) > 1:
            _draw_ranks(column[1], panel, right, styles)
        column[-1].set_xlabel(QUERIES)
    figure.supxlabel(f"lines: means over seeds; {spread_words(curves)}", fontsize=8)
    return save(figure, folder, "curves")


def spread_words(curves: pd.DataFrame) -> str:
    """Caption that explains how a figure of average curves shows the spread over seeds."""
    has = curves["low"].notna()
    words = [f"bands: {INTERVAL}"] if has.any() else []
    if not has.all():
        several = (curves["singles"].map(len) > 1).any()
        words.append(f"{SINGLE_SEEDS} (thin lines)" if several else "one seed, so no interval")
    return "; ".join(words)


def scale_queries(axis: Axes) -> None:
    """Make the query axis logarithmic, but linear from 0 to 1, as curves have a point at 0."""
    axis.set_xscale("symlog", linthresh=1, linscale=0.4)


def panels(curves: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, float]]:
    """Yield each panel's title, curves, and right end of the axis (the same in all tracks)."""
    for (_, shots), group in curves.groupby(["dataset", "shots"], sort=False):
        title = f"{group['data_name'].iloc[0]}, {counted(int(shots), 'shot')}"
        levels = is_level(group)
        tracks = group[~levels]["track"].unique()
        right = max(float(group["queries"].max()), 1.0)
        if len(tracks) < 2:
            yield title, group, right
            continue
        for track in tracks:
            what = "one prediction an image" if track == ONE_PREDICTION else track
            yield f"{title}: {what}", group[levels | (group["track"] == track)], right


def is_level(curves: pd.DataFrame) -> pd.Series:
    """Mask of rows drawn as horizontal lines: the zero-shot model and white-box references."""
    return curves["white_box"] | (curves["label"] == _ZERO_SHOT)


def save(
    figure: Figure, folder: Path, name: str, formats: Sequence[str] = ("png", "svg")
) -> list[Path]:
    """Write ``name.FORMAT`` for each format and close the figure.

    The files contain neither a date nor random ids, so that equal figures give equal files.
    """
    files = [folder / f"{name}.{kind}" for kind in formats]
    figure.draw_without_rendering()
    figure.set_layout_engine(None)  # savefig would lay the figure out again for each file
    with plt.rc_context({"svg.hashsalt": name, "pdf.fonttype": 42}):
        for file, kind in zip(files, formats, strict=True):
            with replacing(file) as beside:
                figure.savefig(beside, format=kind, dpi=160, metadata=NO_DATE[kind])
    plt.close(figure)
    return files


def draw_panel(
    axis: Axes,
    panel: pd.DataFrame,
    right: float,
    styles: Styles,
    against: Literal["queries", "cost"] = "queries",
) -> None:
    """Draw one panel; all artists of a line have the ``gid`` given by :func:`line_id`.

    The panel has some of the rows of :func:`craft_zoo.benchmarks.average_curves`; ``right`` is the
    right end of the axis, in units of ``against``.
    """
    labels: list[tuple[float, str, str]] = []
    ids: dict[str, str] = {}
    alpha = min(0.15, 0.5 / max(1, len(styles)))  # fainter the more bands overlap
    for label, curve in panel.groupby("label", sort=False):
        if curve[against].iloc[-1] < right:  # ended before: extend the final value
            curve = pd.concat([curve, curve.tail(1).assign(**{against: right})])
        at = curve[against].to_numpy(dtype=float)
        accuracy, low, high = 100 * curve[["accuracy", "low", "high"]].to_numpy().T
        singles = 100 * np.array(curve["singles"].tolist())  # (points, seeds)
        gid = line_id(str(label))
        if is_level(curve).any():
            colour = LEVEL_COLOUR
            dashes = (0, (1, 2)) if label == _ZERO_SHOT else (0, (6, 3))
            axis.axhline(accuracy[-1], color=colour, linewidth=1, linestyle=dashes, gid=gid)
        else:
            # Step curves, as the earlier point's solution is deployed until the next point.
            style = {**styles[str(label)], "drawstyle": "steps-post", "gid": gid}
            colour, every = style["color"], max(1, len(at) // 8)
            axis.plot(at, accuracy, **style, linewidth=1.8, markersize=4, markevery=every)
            shared = {"color": colour, "gid": gid}
            if np.isfinite(low).all():
                axis.fill_between(at, low, high, step="post", alpha=alpha, linewidth=0, **shared)
            elif singles.shape[1] > 1:
                thin: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.4, "zorder": 1.5}
                axis.plot(at, singles, drawstyle="steps-post", **thin, **shared)
        text = f"{label}  {accuracy[-1]:.1f}"
        labels.append((float(accuracy[-1]), text, colour))
        ids[text] = gid
    axis.set_xlim(0, right)
    axis.margins(y=0.06)
    label_ends(axis, labels, ids)
    axis.set_ylabel("test accuracy (%)")
    style_axis(axis)


def style_axis(axis: Axes) -> None:
    """Hide the frame and draw a faint horizontal grid behind the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)


def _draw_ranks(axis: Axes, panel: pd.DataFrame, right: float, styles: Styles) -> None:
    """Draw the methods' ranks by mean accuracy (1 is the highest) over the queries."""
    at = np.linspace(right / _RANKINGS, right, _RANKINGS)
    lines = {
        label: curve["accuracy"].to_numpy()[
            np.searchsorted(curve["queries"], at, side="right").clip(1) - 1
        ]
        for label, curve in panel[~is_level(panel)].groupby("label", sort=False)
    }
    ranks = pd.DataFrame(lines).round(DIGITS).rank(axis=1, ascending=False, method="min")
    for label, style in styles.items():
        axis.plot(at, ranks[label], **style, linewidth=1.4, markersize=4)
    axis.set_ylim(len(lines) + 0.5, 0.5)
    axis.set_xlim(0, right)
    axis.set_yticks(sorted({1, len(lines)}))
    axis.set_ylabel("rank")
    axis.spines[["top", "right"]].set_visible(False)


def compared_lines(panel: pd.DataFrame) -> list[str]:
    """Labels of all lines except the horizontal reference lines."""
    return list(panel[~is_level(panel)]["label"].unique())


def line_id(label: str) -> str:
    """The SVG ``gid`` shared by all artists of a line."""
    return f"line-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def line_styles(labels: Sequence[str]) -> Styles:
    """Colour, dash and marker of each line; combinations repeat only after 70 lines."""
    return {
        label: {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": _DASHES[i % len(_DASHES)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        for i, label in enumerate(labels)
    }


def label_ends(
    axis: Axes, labels: list[tuple[float, str, str]], ids: Mapping[str, str] | None = None
) -> None:
    """Label each line at its right end, shifting labels vertically so that none overlap.

    A label is a height, a text, which is sanitized here, and a colour; ``ids`` maps a text to its
    ``gid``.
    """
    bottom, top = axis.get_ylim()
    gap = 0.055 * (top - bottom)
    labels = sorted(labels)
    places = [height for height, _, _ in labels]
    for _ in range(200):  # move overlapping neighbours apart by equal shares, until none overlap
        for i in range(len(places) - 1):
            overlap = gap - (places[i + 1] - places[i])
            if overlap > 0:
                places[i] -= overlap / 2
                places[i + 1] += overlap / 2
    for (height, text, colour), at in zip(labels, places, strict=True):
        axis.annotate(
            sanitized(text),
            xy=(1, height),
            xycoords=("axes fraction", "data"),
            xytext=(1.02, at),
            textcoords=("axes fraction", "data"),
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
            gid=(ids or {}).get(text),
            label=END,
        )
