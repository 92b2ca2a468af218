"""Accuracy of an adapter on a data set's test images.

If the adapter was tuned for all class names of the data set, prompt and refiner are used; otherwise
only the prompt, as the refiner is fitted to the old classes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import Usage
from craft_zoo.cli.arguments import (
    add_classnames_argument,
    add_data_arguments,
    add_model_arguments,
    billed_an_image,
    check_limits,
    open_adapters_model,
    read_dataset,
    say_skipped,
)
from craft_zoo.cli.progress import ReadingBar, query_progress
from craft_zoo.console import open_console
from craft_zoo.metrics import accuracy
from craft_zoo.transfer import transfer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("adapter", type=Path, metavar="ADAPTER", help="file that tune saved")
    parser.add_argument("dataset", metavar="DATASET", help="see craft-zoo datasets, or folder:PATH")
    add_classnames_argument(parser)
    add_data_arguments(parser)
    add_model_arguments(parser, default=None)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    console = open_console()
    adapter = Adapter.load(options.adapter)
    dataset = read_dataset(options).open()
    say_skipped(dataset.name, dataset.skipped, console)
    vlm = open_adapters_model(options, adapter)
    known = set(dataset.classnames) <= set(adapter.classnames)
    each = billed_an_image(adapter) if known else 1
    check_limits(options, Usage(len(dataset.test) * each), "name a smaller data set")
    with query_progress() as progress:
        images = vlm.images(dataset.test.images, ReadingBar(progress))
        logits = transfer(adapter.solution, vlm, adapter.open(vlm), images, dataset.classnames)
    part = "the adapter" if known else "the adapter's prompt with the new class names"
    console.print(
        f"{dataset.name}: {100 * accuracy(logits, dataset.test.labels):.1f} % of "
        f"{len(dataset.test):,} test images, {len(dataset.classnames)} classes, by {part}.",
        soft_wrap=True,
        markup=False,
    )
    return 0
