"""Print a CSV row for each image, in the order given: its path, the class and its probability."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from rich.console import Console

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import VLM, Usage
from craft_zoo.cli.arguments import (
    add_adapter_argument,
    add_model_arguments,
    add_transductive_argument,
    check_file,
    group_of,
    load_adapter,
    open_adapters_model,
    say_refused,
)
from craft_zoo.cli.csv_rows import CsvRows
from craft_zoo.cli.money import check_limits
from craft_zoo.cli.progress import add_bar, query_progress
from craft_zoo.cli.resuming import resumable
from craft_zoo.data import find_broken, list_images
from craft_zoo.errors import CraftZooError
from craft_zoo.files import replacing
from craft_zoo.predictor import Answers
from craft_zoo.solution import are_refused

_BATCH = 512  # images per query; the class names are sent with every query
_NAMED = 10  # broken images that are listed at the end; all are counted
_LINES = (".jsonl", ".ndjson")


_Answered = tuple[Sequence[Path], Answers]


class Row(NamedTuple):
    """The output for one image.

    Attributes:
        image: its path.
        classes: the most probable classes and their probabilities, in descending order.
        abstains: whether the largest probability is below the threshold, or a service refused to
            answer about the image.
    """

    image: str
    classes: list[tuple[str, float]]
    abstains: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_adapter_argument(parser)
    parser.add_argument(
        "images",
        type=Path,
        nargs="+",
        metavar="IMAGES",
        help="image files, or folders that are searched recursively",
    )
    add_transductive_argument(parser)
    group = group_of(parser, "output")
    group.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write to a file, .csv or .jsonl (JSON lines), instead of standard output",
    )
    group.add_argument(
        "--top-k", type=int, default=1, metavar="K", help="print the K best classes (default: 1)"
    )
    group.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        metavar="P",
        help="abstain below this probability: the class is left empty (default: 0, never)",
    )
    group.add_argument(
        "--skip-bad",
        action="store_true",
        help="exit with code 0 even if images cannot be read; with or without this option, they "
        "are counted and listed, and all others are classified",
    )
    add_model_arguments(parser, default=None)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        The exit code: 2 if an image could not be read and ``--skip-bad`` is not given.
    """
    _check(options)
    adapter = load_adapter(options)
    if options.transductive:
        adapter.check_transductive()
    if options.top_k > len(adapter.classnames):
        raise CraftZooError(
            f"--top-k {options.top_k} is more than the {len(adapter.classnames)} classes of "
            f"{options.adapter}: lower it"
        )
    images, left_out = list_images(options.images)
    vlm = open_adapters_model(options, adapter)
    check_limits(options, Usage(len(images) * adapter.solution.billed_predictions))
    broken: list[str] = []
    console = Console(stderr=True, markup=False, emoji=False)
    # Rows printed on the same terminal already show the progress, unless all come at the end.
    rows_shown = options.out is None and sys.stdout.isatty() and not options.transductive
    # A relative path means other images in another working folder.
    places = list(map(os.path.abspath, options.images))
    with (
        resumable(vlm, options.adapter, "predict", places, console) as asked,
        query_progress(console, transient=True, disable=rows_shown) as progress,
    ):
        tell = partial(progress.update, add_bar(progress, "images", len(images)))
        rows = _rows(adapter, asked, images, options, broken, lambda done: tell(completed=done))
        first = next(rows, None)  # no file is opened before the model has answered
        if first is None:
            raise CraftZooError(
                f"none of {len(images):,} images can be read; the first: {broken[0]}"
            )
        lines = options.out is not None and options.out.suffix.lower() in _LINES
        with _opened(options.out) as file:
            write = _write_lines if lines else _write_csv
            write(chain([first], rows), file, options.top_k)
    say_refused(vlm.refused, console)
    for sentence in (*left_out[:_NAMED], *broken[:_NAMED]):
        print(f"craft-zoo: {sentence}", file=sys.stderr)
    if len(left_out) > _NAMED:
        print(f"craft-zoo: and {len(left_out) - _NAMED:,} more left out", file=sys.stderr)
    if broken:
        print(
            f"craft-zoo: {len(broken):,} of {len(images):,} images skipped, as they cannot be read",
            file=sys.stderr,
        )
    return 0 if options.skip_bad or not broken else 2


def _check(options: argparse.Namespace) -> None:
    if options.top_k < 1:
        raise CraftZooError(f"--top-k must be at least 1, not {options.top_k}")
    if not 0 <= options.threshold <= 1:
        raise CraftZooError(f"--threshold must be a probability, not {options.threshold:g}")
    out = options.out
    if out is None:
        return
    if out.suffix.lower() not in (".csv", *_LINES):
        raise CraftZooError(f"--out {out} must end in .csv or .jsonl, which says what to write")
    check_file(out, "--out")


def _rows(
    adapter: Adapter,
    vlm: VLM,
    images: Sequence[Path],
    options: argparse.Namespace,
    broken: list[str],
    progress: Callable[[int], None],
) -> Iterator[Row]:
    """A row for each readable image; a sentence about each other is appended to ``broken``."""
    answered = _answered(adapter, vlm, images, broken, progress)
    if options.transductive:
        answered = _together(answered)
    for batch, answers in answered:
        logits, anchors, local = answers
        refused = are_refused(logits, anchors) & (local is None)
        refined = adapter.refine(*answers, transductive=options.transductive)
        rows = zip(batch, adapter.probabilities(refined), refused, strict=True)
        for image, probabilities, is_refused in rows:
            best = np.argsort(-probabilities, kind="stable")[: options.top_k]
            found = [(adapter.classnames[place], float(probabilities[place])) for place in best]
            abstains = is_refused or found[0][1] < options.threshold
            yield Row(str(image), found, abstains)


def _answered(
    adapter: Adapter,
    vlm: VLM,
    images: Sequence[Path],
    broken: list[str],
    progress: Callable[[int], None],
) -> Iterator[_Answered]:
    """The readable images in batches, and the model's answers about them."""
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        if vlm.bills:  # a journal holds no request that fails
            batch = _readable(batch, broken)
        try:
            answers = adapter.ask(vlm, batch) if batch else None
        except CraftZooError:
            # If a server fails to read an image, its error does not name the file.
            readable = _readable(batch, broken)
            if len(readable) == len(batch):
                raise
            batch = readable
            answers = adapter.ask(vlm, batch) if batch else None
        if answers is not None:
            yield batch, answers
        progress(min(start + _BATCH, len(images)))


def _together(answered: Iterable[_Answered]) -> Iterator[_Answered]:
    """All batches as one."""
    images: list[Path] = []
    parts: list[Answers] = []
    for batch, answers in answered:
        images += batch
        parts.append(answers)
    if images:
        logits, anchors, local = zip(*parts, strict=True)
        yield images, (np.concatenate(logits), _joined(anchors), _joined(local))


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """The rows of all parts; None if there are none, which is so for all parts or for none."""
    rows = [part for part in parts if part is not None]
    return np.concatenate(rows) if rows else None


def _readable(images: Sequence[Path], broken: list[str]) -> list[Path]:
    """The images that can be read; a sentence about each other is appended to ``broken``."""
    faults = find_broken(images)
    broken += faults.values()
    return [image for place, image in enumerate(images) if place not in faults]


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears only when it is complete."""
    if out is None:
        yield sys.stdout
        return
    with (
        replacing(out) as beside,
        beside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        yield file


def _write_csv(rows: Iterable[Row], file: TextIO, top_k: int) -> None:
    """Write CSV with columns image, class, probability, and class_2, probability_2, … up to K."""
    rows_of_text = CsvRows(file)
    more = [f"{name}_{place}" for place in range(2, top_k + 1) for name in ("class", "probability")]
    rows_of_text.write(("image", "class", "probability", *more))
    for image, classes, abstains in rows:
        cells = [image]
        for place, (classname, probability) in enumerate(classes):
            cells += ["" if abstains and place == 0 else classname, f"{probability:.4f}"]
        rows_of_text.write(cells)


def _write_lines(rows: Iterable[Row], file: TextIO, top_k: int) -> None:
    """Write JSON lines with image, class (null if abstaining), probability, and top if K > 1."""
    for image, classes, abstains in rows:
        classname, probability = classes[0]
        about: dict[str, object] = {
            "image": image,
            "class": None if abstains else classname,
            "probability": round(probability, 4),
        }
        if top_k > 1:
            about["top"] = [{"class": name, "probability": round(p, 4)} for name, p in classes]
        file.write(json.dumps(about, ensure_ascii=False) + "\n")
