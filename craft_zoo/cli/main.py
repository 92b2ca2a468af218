"""Parsing, and the rules that hold for every command: errors, interruption, exit codes."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import TextIO

from craft_zoo.cli import (
    bbob,
    bench,
    cache,
    compare,
    datasets,
    evaluate,
    listing,
    models,
    predict,
    report,
    serve,
    study,
    tune,
)
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.machine import keep_freed_memory
from craft_zoo.optimizers import OptimizerError

BAD_INPUT, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, 2 for bad input (one sentence on standard error), 130 when interrupted.
    """
    options = build_parser().parse_args(arguments)
    keep_freed_memory()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return options.run(options)
    except (CraftZooError, OptimizerError) as error:
        print(f"craft-zoo: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("craft-zoo: interrupted", file=sys.stderr)
        return INTERRUPTED


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print our own warnings as a sentence, others as Python does."""
    if issubclass(category, CraftZooWarning):
        print(f"craft-zoo: {message}", file=file or sys.stderr)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        print(text, end="", file=file or sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="craft-zoo",
        description="Adapt a vision-language model that you can only query.",
    )
    parser.add_argument(
        "--version", action="version", version=f"craft-zoo {metadata.version('craft-zoo')}"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    benches = bench, report, compare, study, bbob
    for module in (*benches, tune, predict, evaluate, serve, cache, datasets, models):
        module.add_command(commands)
    listing.add_commands(commands)
    return parser
