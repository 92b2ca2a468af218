"""Where tables are printed."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

_WIDTH = 120  # where nothing tells how wide the output is: a file, a pipe


def open_console() -> Console:
    """Standard output, as wide as the terminal; tables in files and pipes are not folded.

    Names are printed as they are: what looks like rich's markup or an emoji's name is neither.
    """
    console = Console(markup=False, emoji=False)
    known = console.is_terminal or "COLUMNS" in os.environ
    return console if known else Console(width=_WIDTH, markup=False, emoji=False)


def print_names(entries: Mapping[str, str]) -> int:
    """Print names with a line on each; the exit code."""
    table = Table(box=None, show_header=False)
    for name, text in entries.items():
        table.add_row(name, text)
    open_console().print(table)
    return 0
