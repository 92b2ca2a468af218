"""Parsing, and the rules that hold for every command: errors, interruption, exit codes."""

from __future__ import annotations

import argparse
import io
import os
import sys
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from typing import Any, NoReturn, TextIO

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
    tune,
)
from craft_zoo.errors import CraftZooError, CraftZooWarning, did_you_mean
from craft_zoo.machine import keep_freed_memory
from craft_zoo.optimizers import OptimizerError
from craft_zoo.printable import printable

NOT_READ, BAD_INPUT, INTERRUPTED = 1, 2, 130

_EXAMPLES = {
    "bench": "craft-zoo bench --dataset folder:pets --optimizer cma --optimizer logit-gn",
    "report": "craft-zoo report craft-zoo-bench",
    "compare": "craft-zoo compare refine craft --in craft-zoo-bench",
    "bbob": "craft-zoo bbob --optimizer cma --optimizer spsa",
    "tune": "craft-zoo tune folder:pets --budget 2000 --out pets.adapter",
    "predict": "craft-zoo predict pets.adapter new-pictures/ --out pets.csv",
    "evaluate": "craft-zoo evaluate pets.adapter folder:pets",
    "serve": "craft-zoo serve --keys keys.json --state served",
    "cache": "craft-zoo cache --clear",
    "datasets": "craft-zoo datasets check ~/data",
    "models": "craft-zoo models ViT-B",
    "optimizers": "craft-zoo optimizers cma",
    "methods": "craft-zoo methods",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, 2 for bad input (one sentence on standard error), 130 when interrupted,
        1 where nobody reads the output any more.
    """
    _show_all_text()
    parser = build_parser()
    options, surplus = parser.parse_known_args(arguments)
    if surplus:
        parser.refuse(surplus, options)
    keep_freed_memory()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = options.run(options)
        sys.stdout.flush()  # while an error can still be answered for
        return code
    except (CraftZooError, OptimizerError) as error:
        print(f"craft-zoo: {_shown(error)}", file=sys.stderr)
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


def _show_all_text() -> None:
    """Names that the terminal's encoding lacks are shown as escapes, in place of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    """A parser that guesses what a mistyped command or option was meant to be."""

    def __init__(self, **given: Any) -> None:
        raw = argparse.RawDescriptionHelpFormatter  # which keeps the line breaks of examples
        defaults: dict[str, Any] = {"formatter_class": raw, "allow_abbrev": False}
        super().__init__(**(defaults | given))
        if self.description:
            self.description = textwrap.fill(self.description, 79)

    def error(self, message: str) -> NoReturn:
        """One sentence and the way to the help, where argparse prints all of the usage."""
        self.exit(BAD_INPUT, f"{self.prog}: {message}\nSee {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = action.choices
        if choices is not None and value not in choices:
            names = [str(choice) for choice in choices]
            message = f"{value!r} is none of {', '.join(names)}"
            hint = did_you_mean(str(value), names)
            raise argparse.ArgumentError(action, f"{message}: {hint}" if hint else message)

    def refuse(self, surplus: Sequence[str], options: argparse.Namespace) -> NoReturn:
        """End with what was given and is no argument of the command."""
        known = options.parser._option_string_actions
        hint = did_you_mean(surplus[0].partition("=")[0], known)
        parser: _Parser = options.parser
        parser.error(f"{surplus[0]!r} is no argument of it{f': {hint}' if hint else ''}".rstrip())


def _shown(error: Exception) -> str:
    """The error's lines without what moves a terminal's cursor, which a name in it may hold."""
    return "\n".join(printable(line) for line in str(error).split("\n"))


def _of_files(error: OSError) -> str:
    """What a file system has refused, where no one has said it better."""
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    if error.filename is None:
        return f"the system has refused to read or write ({reason}): check the room and your rights"
    return (
        f"{error.filename} cannot be read or written ({reason}): check the path, your rights and "
        f"the room"
    )


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


def build_parser() -> _Parser:
    """The parser of the whole command."""
    parser = _Parser(
        prog="craft-zoo",
        description="Adapt a vision-language model that you can only query.",
    )
    parser.add_argument(
        "--version", action="version", version=f"craft-zoo {metadata.version('craft-zoo')}"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    benches = bench, report, compare, bbob
    for module in (*benches, tune, predict, evaluate, serve, cache, datasets, models):
        module.add_command(commands)
    listing.add_commands(commands)
    for name, command in commands.choices.items():
        command.set_defaults(parser=command)
        example = textwrap.indent(_EXAMPLES[name], "  ")
        command.epilog = f"{command.epilog}\n\n" if command.epilog else ""
        command.epilog += f"example:\n{example}"
    return parser
