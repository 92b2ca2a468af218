"""List the data sets.

Each published one has its own folder under a common data root, see docs/datasets.md.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.table import Table

from craft_zoo.cli.progress import ReadingBar, query_progress
from craft_zoo.console import open_console, print_names, say
from craft_zoo.data import dataset_names
from craft_zoo.data.published import Finding, check_datasets, published_datasets
from craft_zoo.errors import CraftZooError
from craft_zoo.files import expanded

_BROKEN = 2  # exit code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(metavar="ACTION")
    checker = actions.add_parser(
        "check",
        help="check which published data sets are present and complete",
        description="Check which published data sets are under DIR and can be used. The exit code "
        "is 2 if a data set is broken or none is present.",
    )
    checker.add_argument(
        "root", type=Path, nargs="?", metavar="DIR", help="the data root (default: CRAFT_ZOO_DATA)"
    )
    checker.add_argument(
        "--dataset",
        action="append",
        metavar="NAME",
        choices=list(published_datasets()),
        help="check this data set only; repeatable (default: all)",
    )
    checker.add_argument("--images", action="store_true", help="also open every image")
    checker.set_defaults(run=run_check)


def run(options: argparse.Namespace) -> int:
    """List the data sets."""
    return print_names(dataset_names())


def run_check(options: argparse.Namespace) -> int:
    """Check the data sets under a data root."""
    root = options.root or os.environ.get("CRAFT_ZOO_DATA")
    if not root:
        raise CraftZooError("the data root is not known: write craft-zoo datasets check DIR")
    root = expanded(root)
    if not root.is_dir():
        raise CraftZooError(f"data root {root} does not exist: check the path")
    with query_progress() as progress:
        findings = check_datasets(
            root, options.dataset, open_images=options.images, progress=ReadingBar(progress)
        )
    if all(finding.state == "absent" for finding in findings):
        folders = ", ".join(published_datasets()[finding.name].folder for finding in findings)
        raise CraftZooError(
            f"{root} holds none of the data sets' folders ({folders}): name another folder, or "
            f"see docs/datasets.md"
        )
    console = open_console()
    console.print(_table(findings))
    say(console, *(f"{each.name}: {problem}" for each in findings for problem in each.problems))
    return _BROKEN if any(finding.state == "broken" for finding in findings) else 0


def _table(findings: list[Finding]) -> Table:
    table = Table("data set", "state", "classes", "train", "val", "test", "as published", box=None)
    for column in table.columns[2:6]:
        column.justify = "right"
    for finding in findings:
        state: str = finding.state
        if finding.broken_images:
            state += f", {finding.broken_images:,} images"
        if finding.sizes is None:
            table.add_row(finding.name, state)
            continue
        counts = (f"{count:,}" for count in (finding.n_classes or 0, *finding.sizes))
        table.add_row(finding.name, state, *counts, "yes" if finding.as_published else "no")
    return table
