"""Rows of CSV that spreadsheets do not execute and that readers do not cut."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import TextIO

# Spreadsheets execute a cell that starts with one of these characters as a formula (OWASP, CSV
# injection); some also accept the full-width forms.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class CsvRows:
    """Writes rows of text to a file.

    Args:
        file: opened with ``newline=""``.
    """

    def __init__(self, file: TextIO) -> None:
        self._plain = csv.writer(file, lineterminator="\n")
        # Many readers end a row at a carriage return, which Python up to 3.12 does not quote.
        self._quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, cells: Sequence[str]) -> None:
        """Write a row; a leading apostrophe precedes what a spreadsheet would execute."""
        safe = [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells]
        (self._quoting if any("\r" in cell for cell in safe) else self._plain).writerow(safe)
