"""Ask a model about words on images of anything, and save how its answers vary together.

The file is made once for a model. Methods with anchors use it in every task (--set
background=FILE), as it shows the refiner which differences are small in all images. Photographs as
different as possible serve best; without any, the images are drawn.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from craft_zoo.anchors.background import (
    IMAGES,
    WORDS,
    ask_background,
    background_words,
    check_images,
)
from craft_zoo.blackbox import DEFAULT_INIT, as_template
from craft_zoo.blackbox.base import Asked
from craft_zoo.cli.arguments import (
    add_model_arguments,
    check_out,
    group_of,
    read_model,
    say_refused,
    say_skipped,
)
from craft_zoo.cli.money import check_limits, in_money
from craft_zoo.cli.progress import ReadingBar, query_progress
from craft_zoo.cli.resuming import resumable
from craft_zoo.console import open_console, say
from craft_zoo.counts import counted
from craft_zoo.data import dead_leaves, list_images
from craft_zoo.data.broken import find_broken
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.seeding import generator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "images",
        type=Path,
        nargs="*",
        metavar="IMAGES",
        help="image files, or folders that are searched recursively; no labels are needed "
        "(default: drawn images)",
    )
    output = group_of(parser, "output")
    output.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the background file to write"
    )
    output.add_argument(
        "--force", action="store_true", help="replace the file if there is one, and pay again"
    )
    parser.add_argument(
        "--count",
        type=int,
        default=IMAGES,
        metavar="N",
        help="number of images: as many are drawn, or taken at random of those given (default: "
        f"{IMAGES})",
    )
    parser.add_argument(
        "--words",
        type=int,
        default=WORDS,
        metavar="W",
        help="number of words that each image is scored on; anchors are drawn from them, without "
        f"class names (default: {WORDS}, for 256 anchors)",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out images that cannot be read; without it, such an image ends the command "
        "before the model is asked",
    )
    add_model_arguments(parser)
    group_of(parser, "money").add_argument(
        "--dry-run", action="store_true", help="print the cost; send no query and write no file"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    console = open_console()
    out: Path = options.out
    check_out(out, force=options.force)
    if options.count < 2:
        raise CraftZooError("a background needs at least two images: raise --count")
    words = background_words(options.words)
    images, left_out = _images(options)
    say_skipped("The images", left_out, console)
    check_images(images)
    vlm = read_model(options).open()
    usage = vlm.expected_usage([Asked((as_template(DEFAULT_INIT),), words)], images, words)
    check_limits(options, usage, "lower --count")
    what = f"{counted(len(words), 'word')} on {counted(len(images), 'image')}"
    say(console, f"Asking about {what}: {in_money(options, vlm.name, usage)}")
    if options.dry_run:
        return 0
    # A relative path means other images in another working folder.
    about = [str(len(images)), str(len(words)), *map(os.path.abspath, options.images)]
    with resumable(vlm, out, "background", about, console) as asked:
        with query_progress() as progress:
            background = ask_background(asked, images, options.words, progress=ReadingBar(progress))
        background.save(out)
    say_refused(vlm.refused, console)
    command = ["craft-zoo", "tune", "DATASET", "--model", vlm.name]
    command += [f"--model-option={option}" for option in options.model_option]
    command += ["--method", "anchors", "--set", f"background={out}"]
    if len(words) < WORDS:  # too few for the default number of anchors
        command += ["--set", f"anchors={max(1, len(words) * 4 // 5)}"]
    say(console, f"Saved {out}. Use it with: {shlex.join(command)}")
    return 0


def _images(options: argparse.Namespace) -> tuple[Sequence[ImageSource], list[str]]:
    """The images to ask about, and sentences on skipped files."""
    if not options.images:
        return dead_leaves(options.count), []
    images, left_out = list_images(options.images)
    places = generator(0, "background").permutation(len(images))[: options.count]
    chosen = [images[place] for place in sorted(places)]
    broken = find_broken(chosen) if options.skip_bad else {}
    kept = [image for place, image in enumerate(chosen) if place not in broken]
    return kept, [*broken.values(), *left_out]
