"""Parsing, and the rules that hold for every command: errors, interruption, exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata

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
from craft_zoo.errors import CraftZooError
from craft_zoo.machine import keep_freed_memory
from craft_zoo.optimizers import OptimizerError

NOT_READ, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, 2 for bad input (one sentence on standard error), 130 when interrupted,
        1 where nobody reads the output any more.
    """
    options = build_parser().parse_args(arguments)
    keep_freed_memory()
    try:
        code = options.run(options)
        sys.stdout.flush()  # while an error can still be answered for
        return code
    except (CraftZooError, OptimizerError) as error:
        print(f"craft-zoo: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # whoever reads the output, head for instance, has seen enough
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_READ
    except OSError as error:
        print(f"craft-zoo: {_of_files(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("craft-zoo: interrupted", file=sys.stderr)
        return INTERRUPTED


def _of_files(error: OSError) -> str:
    """What a file system has refused, where no one has said it better."""
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    if error.filename is None:
        return f"the system has refused to read or write ({reason}): check the room and your rights"
    return (
        f"{error.filename} cannot be read or written ({reason}): check the path, your rights and "
        f"the room"
    )


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
