"""Show or clear the cache of image features on disk, which saves encoding an image twice with a
model. The folder is CRAFT_ZOO_CACHE, or the user's cache folder.
"""

from __future__ import annotations

import argparse

from craft_zoo.console import open_console, say
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import cache_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--clear", action="store_true", help="delete the cached features")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    folder = cache_folder()
    console = open_console()
    try:
        files = sorted(folder.glob("features-*.sqlite"))
        size = sum(file.stat().st_size for file in files) / 2**20
        if options.clear:
            for file in files:
                file.unlink()
    except OSError as error:
        raise CraftZooError(
            f"the cache folder {folder} cannot be used ({error}): check it, or choose another "
            f"with CRAFT_ZOO_CACHE"
        ) from None
    if options.clear:
        say(console, f"Deleted {size:.1f} MB from {folder}")
    else:
        say(console, f"{folder}: {size:.1f} MB for {len(files)} models")
    return 0
