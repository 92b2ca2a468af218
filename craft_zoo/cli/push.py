"""Upload an adapter to the Hugging Face hub, with a model card, in one commit.

Everyone who can read the repository can then name it hf://user/name in place of an adapter's file.
It needs the extra hub, and a token in HF_TOKEN or of 'hf auth login'.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from craft_zoo import hub
from craft_zoo.cli.arguments import add_adapter_argument, load_adapter
from craft_zoo.console import open_console, say
from craft_zoo.counts import counted
from craft_zoo.pages import readme


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_adapter_argument(parser)
    parser.add_argument("repository", metavar="USER/NAME", help="created if it does not exist")
    parser.add_argument(
        "--private", action="store_true", help="make a new repository private (default: public)"
    )
    parser.add_argument(
        "--no-canaries",
        action="store_true",
        help="leave out the small copies of training images, without which craft-zoo check cannot "
        "say whether the model has changed",
    )
    parser.add_argument(
        "--note",
        default="",
        metavar="TEXT",
        help="shown on the card: where the data are from, their licence",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    console = open_console()
    adapter = load_adapter(options)
    if options.no_canaries:
        adapter = replace(adapter, canaries=None)
    files = {
        hub.FILE: adapter.to_bytes(),
        "README.md": readme(adapter, options.repository, options.note).encode(),
    }
    commit = hub.upload(files, options.repository, private=options.private)
    if adapter.canaries is not None:
        copies = counted(len(adapter.canaries), "training image")
        say(console, f"The file holds small copies of {copies} (--no-canaries leaves them out)")
    address = f"{hub.SCHEME}{options.repository}"
    say(console, f"Uploaded to {commit}. Use it: craft-zoo predict {address} IMAGES…")
    return 0
