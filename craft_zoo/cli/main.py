"""Parsing, errors, interruption and exit codes of all commands."""

from __future__ import annotations

import argparse
import io
import os
import sys
import textwrap
import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NoReturn, TextIO

from craft_zoo.errors import CraftZooError, CraftZooWarning, did_you_mean
from craft_zoo.printable import printable

NOT_READ, BAD_INPUT, INTERRUPTED = 1, 2, 130


COMMANDS = {
    "bench": (
        "compare methods and optimizers by accuracy per query",
        "craft-zoo bench --dataset folder:pets --optimizer cma --optimizer logit-gn",
    ),
    "report": (
        "results as one page, and as figures and tables for a paper",
        "craft-zoo report craft-zoo-bench",
    ),
    "compare": (
        "is B better than A, by how much, and how sure is that?",
        "craft-zoo compare refine craft --in craft-zoo-bench",
    ),
    "bbob": (
        "compare optimizers on COCO's BBOB functions, without a model",
        "craft-zoo bbob --optimizer cma --optimizer spsa",
    ),
    "tune": (
        "adapt a model to your images and save the adapter",
        "craft-zoo tune folder:pets --budget 2000 --out pets.adapter",
    ),
    "predict": (
        "classify images with a saved adapter",
        "craft-zoo predict pets.adapter new-pictures/ --out pets.csv",
    ),
    "evaluate": (
        "how good a saved adapter is on a data set",
        "craft-zoo evaluate pets.adapter folder:pets",
    ),
    "export": (
        "write an adapter's refiner as an ONNX file",
        "craft-zoo export pets.adapter --onnx pets.onnx",
    ),
    "push": (
        "upload an adapter to the Hugging Face hub",
        "craft-zoo push pets.adapter user/pets",
    ),
    "check": (
        "is the model still the one that an adapter was tuned for?",
        "craft-zoo check pets.adapter",
    ),
    "background": (
        "ask a model once about images of anything, which makes anchors better",
        "craft-zoo background --out craft-mini.background",
    ),
    "serve": (
        "let others query a model or use an adapter, and count what they ask",
        "craft-zoo serve --keys keys.json --state served",
    ),
    "cache": (
        "show or clear the image features that are kept between runs",
        "craft-zoo cache --clear",
    ),
    "datasets": (
        "list the data sets, or check those under a data root",
        "craft-zoo datasets check ~/data",
    ),
    "models": (
        "list the models, with the weights that there are",
        "craft-zoo models ViT-B",
    ),
    "optimizers": (
        "list the optimizers, or the options of one",
        "craft-zoo optimizers cma",
    ),
    "methods": (
        "list the methods, and the settings that they read",
        "craft-zoo methods",
    ),
    "completion": (
        "print a shell's script that completes commands and options",
        "craft-zoo completion bash",
    ),
}
"""Summary and example of each command.

A command is a module of :mod:`craft_zoo.cli`: its docstring is the description in the help,
``add_arguments`` declares the arguments, and ``run`` returns the exit code. The module may load
PyTorch, so it is imported only when the command is called.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, 2 for bad input (one sentence on standard error), 130 when interrupted,
        1 when the reader of standard output has closed it.
    """
    _open_streams()
    _show_all_text()
    try:
        return _run(_parse(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        print("craft-zoo: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    command = next((word for word in arguments if not word.startswith("-")), "")
    parser = build_parser([command])
    options, surplus = parser.parse_known_args(arguments)
    if surplus:
        first, mend = surplus[0], ""
        if command == "bench":
            mend = f": a data set is given as --dataset {first}, a method as --method {first}"
        options.parser.error(f"unrecognized argument {first!r}{mend}")
    return options


def _run(options: argparse.Namespace) -> int:
    # Imported here, as they load PyTorch and SciPy, which would slow down help and parse errors.
    from craft_zoo.machine import keep_freed_memory, use_threads
    from craft_zoo.optimizers import OptimizerError

    keep_freed_memory()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, set())
            if getattr(options, "threads", None) is not None:
                use_threads(options.threads)
            code = options.run(options)
        sys.stdout.flush()  # so that an error is raised inside this try block
        return code
    except (CraftZooError, OptimizerError) as error:
        print(f"craft-zoo: {_shown(error)}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # the reader, for instance head, has exited
        _drop_output()
        return NOT_READ
    except OSError as error:
        print(f"craft-zoo: {_of_files(error)}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # Python would flush once more at exit, and print a second error
            _drop_output()
        return BAD_INPUT


def _drop_output() -> None:
    """Discard what standard output holds and cannot write."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """Discard the output of a command that was started with a closed stream, as by ``>&-``."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _show_all_text() -> None:
    """Escape characters that the terminal's encoding lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _filled(description: str | None) -> str:
    return textwrap.fill(" ".join((description or "").split()), 79)


class _Parser(argparse.ArgumentParser):
    """A parser that suggests corrections for mistyped commands and options."""

    def __init__(self, **given: Any) -> None:
        raw = argparse.RawDescriptionHelpFormatter  # keeps the line breaks of examples
        defaults: dict[str, Any] = {"formatter_class": raw, "allow_abbrev": False}
        super().__init__(**(defaults | given))
        self.description = _filled(self.description)

    def error(self, message: str) -> NoReturn:
        """Print one sentence and the help command, where argparse would print the whole usage."""
        self.exit(BAD_INPUT, f"{self.prog}: {message}\nSee {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = action.choices
        if choices is not None and value not in choices:
            names = [str(choice) for choice in choices]
            message = f"{value!r} is none of {', '.join(names)}: {did_you_mean(value, names)}"
            raise argparse.ArgumentError(action, message.rstrip(": "))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, but a mistyped option is reported before a missing one."""
        words = sys.argv[1:] if args is None else list(args)
        known = self._option_string_actions
        for word in words:
            # The words after a subcommand are parsed by its own parser.
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                break
            name = word.partition("=")[0]
            if word.startswith("--") and " " not in word and name not in known:
                places = {f"--{each.dest}": each.metavar for each in self._get_positional_actions()}
                mend = did_you_mean(name, known)
                if name in places:  # tune and evaluate take DATASET, and bench --dataset
                    mend = f"give {places[name] or name[2:]} without it"
                self.error(f"{name} is no option of it: {mend}".rstrip(": "))
        return super().parse_known_args(words, namespace)


def _shown(error: Exception) -> str:
    """The error's lines, without control characters that names in them may contain."""
    return "\n".join(printable(line) for line in str(error).split("\n"))


def _of_files(error: OSError) -> str:
    """A sentence about an :exc:`OSError` that no caller has turned into a better one."""
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    if error.filename is None:
        return f"a file cannot be read or written ({reason}): check permissions and disk space"
    return (
        f"{error.filename} cannot be read or written ({reason}): check the path, its permissions "
        f"and the disk space"
    )


def _show_warning(
    shown: set[str],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print warnings of this package and of Pillow as a sentence, once, others as Python does."""
    said = str(message) if issubclass(category, CraftZooWarning) else ""
    if Path(filename).parent.name == "PIL":
        from craft_zoo.data.images import being_read  # imports Pillow

        if (image := being_read()) is not None:
            reason = str(message).strip().rstrip(".")
            said = f"image {image} may be damaged or too large ({reason}): check it"
    if said:
        if said not in shown:
            print(f"craft-zoo: {printable(said)}", file=file or sys.stderr)
        shown.add(said)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        print(text, end="", file=file or sys.stderr)


def build_parser(wanted: Collection[str] = tuple(COMMANDS)) -> _Parser:
    """The parser of the command line.

    Args:
        wanted: commands whose arguments are added; of the others only the names are.
    """
    parser = _Parser(
        prog="craft-zoo",
        description="Adapt a vision-language model that you can only query.",
    )
    parser.add_argument(
        "--version", action="version", version=f"craft-zoo {metadata.version('craft-zoo')}"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (summary, example) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, epilog=f"example:\n  {example}")
        if name in wanted:
            module = import_module(f"craft_zoo.cli.{name}")
            command.description = _filled(module.__doc__)
            command.set_defaults(parser=command, run=module.run)
            module.add_arguments(command)
    return parser
