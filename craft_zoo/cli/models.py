"""``craft-zoo models``: what ``--model`` and ``--pretrained`` take."""

from __future__ import annotations

import argparse

from rich.table import Table

from craft_zoo.blackbox import model_schemes
from craft_zoo.console import open_console
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import pretrained_models


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "models",
        description="List craft-mini and open_clip's architectures with their weights. Beside "
        "these, --model hf-hub:ORG/NAME takes a model of the Hugging Face hub, local-dir:PATH a "
        "folder in its form, and --pretrained FILE a checkpoint. Weights that were trained with "
        "another activation than the architecture's are used with theirs: ViT-B-32 with 'openai' "
        "is ViT-B-32-quickgelu.",
    )
    parser.add_argument("part", nargs="?", default="", metavar="PART", help="of the name")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry the command out."""
    found = {
        name: tags
        for name, tags in pretrained_models().items()
        if options.part.casefold() in name.casefold()
    }
    schemes = {scheme: about for scheme, about in model_schemes().items() if options.part in scheme}
    if not found and not schemes:
        raise CraftZooError(f"no model's name holds {options.part!r}: see craft-zoo models")
    table = Table("--model", "--pretrained", box=None)
    for name, tags in found.items():
        table.add_row(name, ", ".join(tags) or "built in")
    for scheme, about in schemes.items():
        table.add_row(f"{scheme}…", f"({about.rstrip('.')})")
    open_console().print(table)
    return 0
