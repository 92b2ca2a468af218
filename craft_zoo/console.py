"""Where tables are printed."""

from __future__ import annotations

import os

from rich.console import Console

_WIDTH = 120  # where nothing tells how wide the output is: a file, a pipe


def open_console() -> Console:
    """Standard output, as wide as the terminal; tables in files and pipes are not folded."""
    console = Console()
    known = console.is_terminal or "COLUMNS" in os.environ
    return console if known else Console(width=_WIDTH)
