"""List craft-mini and open_clip's architectures with their weights.

Besides these, --model hf-hub:ORG/NAME opens a model of the Hugging Face hub, local-dir:PATH one in
a folder of the same layout (open_clip's, or that of a model which the transformers library has
saved), and --pretrained FILE loads a checkpoint. Weights are used with the activation that they
were trained with: ViT-B-32 with 'openai' is ViT-B-32-quickgelu.
"""

from __future__ import annotations

import argparse
import warnings

from rich.table import Table

from craft_zoo.blackbox import model_schemes
from craft_zoo.console import open_console
from craft_zoo.errors import CraftZooError, CraftZooWarning, needs_extra


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("part", nargs="?", default="", metavar="PART", help="part of a name")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    local: dict[str, tuple[str, ...]] = {}
    try:
        with needs_extra("torch", "a model on this machine"):
            from craft_zoo.openclip import pretrained_models

            local = pretrained_models()
    except CraftZooError as error:  # services need no extra
        warnings.warn(str(error), CraftZooWarning, stacklevel=1)
    part = options.part.casefold()
    found = {name: tags for name, tags in local.items() if part in name.casefold()}
    schemes = {scheme: about for scheme, about in model_schemes().items() if part in scheme}
    if not found and not schemes:
        raise CraftZooError(f"no model's name holds {options.part!r}: see craft-zoo models")
    table = Table("--model", "--pretrained", box=None)
    for name, tags in found.items():
        table.add_row(name, ", ".join(tags) or "built in")
    for scheme, about in schemes.items():
        table.add_row(f"{scheme}…", f"({about.rstrip('.')})")
    open_console().print(table)
    return 0
