"""The console on standard output, and tables of names."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

_WIDTH = 120  # for files and pipes, whose width is unknown


def open_console() -> Console:
    """Console on standard output, as wide as the terminal; 120 columns in files and pipes.

    Rich's markup and emoji codes are disabled, as names may contain such characters.
    """
    console = Console(markup=False, emoji=False)
    known = console.is_terminal or "COLUMNS" in os.environ
    return console if known else Console(width=_WIDTH, markup=False, emoji=False)


def print_names(entries: Mapping[str, str]) -> int:
    """Print names with their descriptions; returns the exit code 0."""
    table = Table(box=None, show_header=False)
    for name, text in entries.items():
        table.add_row(name, text)
    open_console().print(table)
    return 0
