"""List the optimizers, or the options of one."""

from __future__ import annotations

import argparse

from rich.table import Table

from craft_zoo import optimizers
from craft_zoo.console import open_console, print_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="list this one's options")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.name is None:
        return print_names(optimizers.names())
    name = options.name.partition(":")[0]
    table = Table("option", "type", "default", "", box=None)
    for option in optimizers.options(name):
        default = "none" if option.default is None else str(option.default)
        table.add_row(option.name, option.type_name, default, option.help)
    console = open_console()
    console.print(optimizers.names()[name])
    console.print(table)
    usage = "nevergrad:NAME" if name == "nevergrad" else name
    console.print(f"Use: --optimizer {usage}:option=value,option=value")
    return 0
