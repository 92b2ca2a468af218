"""Write report.html: one file that needs no network, with curves, tables, statistics, costs and
every run's configuration; report.md, figures/ (PNG, SVG, PDF) and tables/ (LaTeX, CSV) beside it. A
report on a grid in progress covers the runs so far. It also shows the runs of the folders and
archives that follow. --archive writes the runs as one file, which others can add to their reports.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from craft_zoo.benchmarks import lay_beside, read_results, with_price, write_archive
from craft_zoo.benchmarks.report import write_report
from craft_zoo.cli.arguments import add_price_argument
from craft_zoo.cli.money import unpriced_llm
from craft_zoo.console import open_console, say
from craft_zoo.counts import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="results of craft-zoo bench")
    parser.add_argument(
        "others",
        type=Path,
        nargs="*",
        metavar="OTHER",
        help="another folder, or an archive of one, whose runs are shown too",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the report (default: DIR/report)"
    )
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="FILE",
        help="write DIR's runs to FILE, a tar.xz, in place of a report",
    )
    parser.add_argument(
        "--style",
        choices=("page", "paper"),
        default="page",
        help="paper: write the figures also into figures/paper/, as PDF files in the widths of one "
        "column (3.25 inches) and of two, with letters of 8 points (default: page)",
    )
    add_price_argument(parser, "that with which the runs were made")
    parser.add_argument("--title", help="title of the page (default: contains the folder's name)")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    console = open_console()
    if options.archive is not None:
        count = write_archive(options.folder, options.archive)
        say(console, f"{options.archive} holds {counted(count, 'run')}.")
        return 0
    others = {str(source): read_results(source) for source in options.others}
    results = lay_beside(read_results(options.folder), others)
    if options.price is not None:
        results = replace(results, curves=with_price(results.curves, options.price))
        say(console, *unpriced_llm({run.method for run in results.curves}, options.price))
    title = options.title or f"craft-zoo: {options.folder.resolve().name}"
    out, paper = options.out or options.folder / "report", options.style == "paper"
    page = write_report(results, out, title, paper=paper)
    where = f"The report is {page}, with report.md, figures/ and tables/ beside it."
    say(console, *results.conclusions, *results.notes, where)
    return 0
