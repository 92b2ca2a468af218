"""The console on standard output, lines that are printed whole, and tables of names."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

_WIDTH = 120  # for files and pipes, whose width is unknown


def open_console() -> Console:
    """Console on standard output, as wide as the terminal; 120 columns in files and pipes.

    Rich's markup and emoji codes are disabled, as names may contain such characters.
    """
    if sys.stdout.isatty():
        return Console(markup=False, emoji=False)
    # FORCE_COLOR, which notebooks and CI systems set, would also draw each step of a progress bar.
    width = None if "COLUMNS" in os.environ else _WIDTH
    return Console(force_terminal=False, width=width, markup=False, emoji=False)


def say(console: Console, *lines: str) -> None:
    """Print lines as they are, so that they can be copied: not wrapped and not coloured."""
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def print_names(entries: Mapping[str, str]) -> int:
    """Print names with their descriptions; returns the exit code 0."""
    table = Table(box=None, show_header=False)
    for name, text in entries.items():
        table.add_row(name, text)
    open_console().print(table)
    return 0
