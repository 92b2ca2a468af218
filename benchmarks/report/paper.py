"""Figures of the report in the format of a two-column paper."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text

from craft_zoo.benchmarks.plots import END, FONTS, QUERIES, save

WIDTHS = {"column": 3.25, "page": 6.75}  # inches: one column, and both with the gap
_SIZE, _SMALL = 8, 7  # points of the font, and of ticks and legends
_SERIF = ["STIXGeneral", *FONTS]  # metrics of Times
_HEIGHT = 0.45  # of the figure's height on the page
_THIN = 0.6  # of the widths of its lines
_LINE, _MARKER = 1.1, 3.5  # points of a line and a marker in the legend
_ROW = 0.14  # inches of a row of the legend
_LETTER, _SAMPLE = 0.06, 0.5  # inches of a letter and of a line in the legend


def write_for_paper(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``NAME-column.pdf`` and ``NAME-page.pdf``; the figure is changed and closed.

    They are 3.25 and 6.75 inches wide, with Times-like letters of 8 points that are embedded as
    text. The labels at the ends of lines become a legend below the axes. A figure of several
    panels is written in the larger width alone.

    Returns:
        The files written.
    """
    height = _HEIGHT * figure.get_figheight()
    panels = [axis for axis in figure.axes if axis.axison]
    entries: dict[str, Line2D] = {}
    for axis in panels:
        entries |= _take_legend(axis)
        axis.tick_params(labelsize=_SMALL, labelfontfamily=_SERIF)
        if axis.get_xlabel() == QUERIES:
            axis.set_xlabel("queries")
    for line in figure.findobj(Line2D):
        line.set_linewidth(_THIN * line.get_linewidth())
        line.set_markersize(_THIN * line.get_markersize())
    for line in entries.values():
        line.set(linewidth=_LINE, markersize=_MARKER)
    for text in figure.findobj(Text):
        text.set(fontsize=min(_SIZE, text.get_fontsize()), fontfamily=_SERIF)
    files = []
    for kind, width in WIDTHS.items():
        if kind == "column" and len(panels) > 1:
            continue
        figure.set_size_inches(width, height + _ROW * _add_legend(figure, entries, width))
        figure.set_layout_engine("constrained")
        files += save(figure, folder, f"{name}-{kind}", ["pdf"])
    return files


def _take_legend(axis: Axes) -> dict[str, Line2D]:
    """Remove an axis' legend and the labels of its lines, which begin with their names.

    Returns:
        Name → a line of the same look; the highest first.
    """
    entries: dict[str, Line2D] = {}
    if (legend := axis.get_legend()) is not None:
        names = [text.get_text() for text in legend.get_texts()]
        handles = [each for each in legend.legend_handles if isinstance(each, Line2D)]
        entries |= zip(names, handles, strict=True)
        legend.remove()
    lines = {line.get_gid(): line for line in reversed(axis.lines)}  # the first of each id
    ends = [text for text in axis.texts if isinstance(text, Annotation) and text.get_label() == END]
    for text in sorted(ends, key=lambda end: -end.xyann[1]):
        entries[text.get_text().rpartition("  ")[0]] = line = Line2D([], [])
        line.update_from(lines[text.get_gid()])
        text.remove()
    return entries


def _add_legend(figure: Figure, entries: dict[str, Line2D], width: float) -> int:
    """Put a legend below the axes in place of an earlier one; returns the number of its rows."""
    for earlier in figure.legends:
        earlier.remove()
    if not entries:
        return 0
    columns = int(width / (_SAMPLE + _LETTER * max(map(len, entries))))
    columns = max(1, min(len(entries), columns))
    legend = figure.legend(
        list(entries.values()),
        [str(place) for place in range(len(entries))],  # a name may begin with an underscore
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        prop={"size": _SMALL, "family": _SERIF},
        handlelength=2.4,
        columnspacing=1.2,
        borderaxespad=0,
    )
    for text, name in zip(legend.get_texts(), entries, strict=True):
        text.set_text(name)
    return -(-len(entries) // columns)
