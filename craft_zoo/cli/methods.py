"""List the methods, and the settings that they read."""

from __future__ import annotations

import argparse

from craft_zoo.cli.arguments import settings_help
from craft_zoo.console import open_console, print_names, say
from craft_zoo.methods import method_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    print_names(method_names())
    say(open_console(), "", settings_help())
    return 0
