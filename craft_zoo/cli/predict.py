"""``craft-zoo predict``: use an adapter."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path

from craft_zoo.adapter import Adapter
from craft_zoo.cli.arguments import add_model_arguments, open_adapters_model
from craft_zoo.data import find_images
from craft_zoo.errors import CraftZooError

_BATCH = 256


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "predict",
        help="classify images with a saved adapter",
        description="Print a CSV row for each image: its path, the class and its probability.",
    )
    parser.add_argument("adapter", type=Path, metavar="ADAPTER", help="file that tune saved")
    parser.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGES", help="image files, or folders of them"
    )
    add_model_arguments(parser, default=None)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry the command out."""
    adapter = Adapter.load(options.adapter)
    images = list(_expand(options.images))
    vlm = open_adapters_model(options, adapter)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("image", "class", "probability"))
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        for image, probabilities in zip(batch, adapter.predict(vlm, batch), strict=True):
            best = int(probabilities.argmax())
            writer.writerow((image, adapter.classnames[best], f"{probabilities[best]:.4f}"))
    return 0


def _expand(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = find_images(path)
        if not found:
            raise CraftZooError(f"folder {path} holds no images: name another")
        yield from found
