"""``craft-zoo cache``: the image features that are kept between runs."""

from __future__ import annotations

import argparse

from craft_zoo.blackbox import cache_folder
from craft_zoo.cli.console import open_console
from craft_zoo.errors import CraftZooError


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "cache",
        help="show or clear the image features that are kept between runs",
        description="Features of images are kept on disk, so that no image is encoded twice by the "
        "same model. The folder is CRAFT_ZOO_CACHE, or the user's cache folder.",
    )
    parser.add_argument("--clear", action="store_true", help="delete them")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry the command out."""
    folder = cache_folder()
    files = sorted(folder.glob("features-*.sqlite*")) if folder.is_dir() else []
    size = sum(file.stat().st_size for file in files) / 2**20
    console = open_console()
    if options.clear:
        for file in files:
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise CraftZooError(f"{file} cannot be deleted ({error}): delete it") from None
        console.print(f"Deleted {size:.1f} MB from {folder}", soft_wrap=True)
    else:
        console.print(f"{folder}: {size:.1f} MB of {len(files)} models", soft_wrap=True)
    return 0
