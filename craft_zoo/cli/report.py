"""Write report.html: one file that needs no network, with curves, tables, statistics, costs and
every run's configuration; report.md, figures/ (PNG, SVG, PDF) and tables/ (LaTeX, CSV) beside it. A
report on a grid in progress covers the runs so far.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from craft_zoo.benchmarks import read_results
from craft_zoo.benchmarks.report import write_report
from craft_zoo.console import open_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="results of craft-zoo bench")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the report (default: DIR/report)"
    )
    parser.add_argument("--title", help="title of the page (default: contains the folder's name)")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    results = read_results(options.folder)
    title = options.title or f"craft-zoo: {options.folder.resolve().name}"
    page = write_report(results, options.out or options.folder / "report", title)
    console = open_console()
    for problem in results.broken:
        console.print(f"Left out: {problem}", soft_wrap=True, markup=False)
    console.print(
        f"The report is {page}, with report.md, figures/ and tables/ beside it.", soft_wrap=True
    )
    return 0
