"""Print a script with which a shell completes craft-zoo's commands and options (extra completion).

For bash: craft-zoo completion bash > ~/.local/share/bash-completion/completions/craft-zoo
"""

from __future__ import annotations

import argparse

from craft_zoo.errors import needs_extra

_SHELLS = ("bash", "zsh", "tcsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    with needs_extra("completion", "the completion of commands"):
        import shtab
    from craft_zoo.cli.main import build_parser

    print(shtab.complete(build_parser(), options.shell))
    return 0
