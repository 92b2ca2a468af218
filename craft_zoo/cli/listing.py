"""``craft-zoo optimizers`` and ``methods``: what there is."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from rich.table import Table

from craft_zoo import optimizers
from craft_zoo.console import open_console
from craft_zoo.methods import method_names


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("optimizers", help="list the optimizers, or the options of one")
    parser.add_argument("name", nargs="?", metavar="NAME", help="show this one's options")
    parser.set_defaults(run=_optimizers)
    parser = commands.add_parser("methods", help="list the methods")
    parser.set_defaults(run=lambda _options: _print(method_names()))


def _optimizers(options: argparse.Namespace) -> int:
    if options.name is None:
        return _print(optimizers.names())
    name = options.name.partition(":")[0]
    table = Table("option", "type", "default", "", box=None)
    for option in optimizers.options(name):
        default = str(option.default).lower() if option.default is None else str(option.default)
        table.add_row(option.name, option.type_name, default, option.help)
    console = open_console()
    console.print(optimizers.names()[name])
    console.print(table)
    usage = "nevergrad:NAME" if name == "nevergrad" else name
    console.print(f"Use: --optimizer {usage}:option=value,option=value", markup=False)
    return 0


def _print(entries: Mapping[str, str]) -> int:
    table = Table(box=None, show_header=False)
    for name, text in entries.items():
        table.add_row(name, text)
    open_console().print(table)
    return 0
