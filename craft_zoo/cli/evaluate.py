"""Evaluate an adapter on a data set's test images, and the model without it.

The data set may have all of the adapter's classes or some of them. With --out, the answers are
written to a folder, and with --card, a model card.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from craft_zoo.cli.arguments import (
    add_adapter_argument,
    add_classnames_argument,
    add_data_arguments,
    add_model_arguments,
    add_transductive_argument,
    check_file,
    group_of,
    load_adapter,
    open_adapters_model,
    read_dataset,
    say_refused,
    say_skipped,
)
from craft_zoo.cli.csv_rows import CsvRows
from craft_zoo.cli.money import check_limits, in_money
from craft_zoo.cli.progress import ReadingBar, query_progress
from craft_zoo.cli.resuming import resumable
from craft_zoo.console import open_console, say
from craft_zoo.errors import CraftZooError
from craft_zoo.evaluation import (
    ClassResult,
    Evaluation,
    check_coverage,
    evaluate,
    expected_usage,
    labelled,
)
from craft_zoo.files import replacing, write_atomically
from craft_zoo.metrics import interval, percent, predicted
from craft_zoo.printable import printable

_WIDTH = 80
_MATRIX_CLASSES = 12  # maximum for which the terminal shows the confusion matrix
_ROWS = 12  # classes, or confusions, that are printed of more
_NAME = 20  # columns of a class name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_adapter_argument(parser)
    parser.add_argument("dataset", metavar="DATASET", help="see craft-zoo datasets, or folder:PATH")
    add_classnames_argument(parser)
    add_data_arguments(parser)
    add_transductive_argument(parser)
    output = group_of(parser, "output")
    output.add_argument(
        "--coverage",
        type=float,
        default=0.8,
        metavar="SHARE",
        help="share of the images that is classified when the adapter abstains on those of which "
        "it is least sure (default: 0.8)",
    )
    output.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for evaluation.json, predictions.csv (a row an image) and confusion.png",
    )
    output.add_argument(
        "--card",
        type=Path,
        metavar="FILE.html",
        help="model card: one page with what the adapter is, what it cost and how good it is; it "
        "contains small copies of up to 12 images",
    )
    output.add_argument(
        "--note",
        default="",
        metavar="TEXT",
        help="shown on the card: where the data are from, their licence",
    )
    add_model_arguments(parser, default=None)
    group_of(parser, "money").add_argument(
        "--dry-run", action="store_true", help="print the cost; send no query and write no file"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    console = open_console()
    check_coverage(options.coverage)
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        raise CraftZooError(f"--out {options.out} is a file: name a folder")
    _check_card(options)
    adapter = load_adapter(options)
    if options.transductive:
        adapter.check_transductive()
    dataset = read_dataset(options).open()
    say_skipped(dataset.name, dataset.skipped, console)
    vlm = open_adapters_model(options, adapter)
    labelled(adapter.classnames, dataset)
    usage = expected_usage(adapter, vlm, dataset.test)
    check_limits(options, usage, "name a smaller data set")
    if options.dry_run or vlm.bills:
        say(console, f"At most {in_money(options, adapter.model, usage)}")
    if options.dry_run:
        return 0
    with resumable(vlm, options.adapter, "evaluate", [options.dataset], console) as asked:
        with query_progress() as progress:
            together = options.transductive
            found = evaluate(adapter, asked, dataset, ReadingBar(progress), transductive=together)
        # Files first: the reader of standard output, such as head, may close it.
        if options.out is not None:
            _write(found, dataset.test.images, options)
        if options.card is not None:
            from craft_zoo.pages import write_card

            about = {"file": options.adapter, "dataset": dataset.name, "note": options.note}
            write_card(options.card, adapter, vlm, found, dataset.test.images, **about)
        narrow = Console(width=_WIDTH, markup=False, emoji=False)
        _show(found, dataset.name, options.coverage, narrow)
        say_refused(vlm.refused, console)
        say(console, *(f"Wrote {path}" for path in (options.out, options.card) if path is not None))
    return 0


def _check_card(options: argparse.Namespace) -> None:
    card: Path | None = options.card
    if card is None:
        if options.note:
            raise CraftZooError("--note is shown on the card: name its file with --card")
        return
    if card.suffix.lower() not in (".html", ".htm"):
        raise CraftZooError(f"--card {card} must end in .html, as it is a page")
    check_file(card, "--card")


def _show(found: Evaluation, name: str, coverage: float, console: Console) -> None:
    """Print the evaluation in 80 columns."""
    for table in (_class_table(found.classes), _confusions(found)):
        console.print(table.title)
        table.title = None
        console.print(table)
        console.print()
    kept, others = found.abstain(coverage), found.others.shape[1]
    flag = "" if others else " (predict --threshold)"
    lines = [
        f"{name}: {found} of {len(found):,} test images, {len(found.classnames)} classes",
        f"Calibration error (ECE): {_calibration(found)}",
        f"Abstaining: {100 * kept.accuracy:.1f} % of the surest {100 * kept.coverage:.0f} %, those "
        f"with a probability of {kept.threshold_text} or more{flag}",
    ]
    if others:
        lines.append(
            f"These figures choose among the data set's {len(found.classnames)} classes. Among all "
            f"{len(found.classnames) + others} of the adapter, as predict does, "
            f"{100 * found.accuracy_of_all:.1f} % are correct"
        )
    for line in lines:
        console.print(Text(printable(line)))
    if found.transductive:
        console.print("The images were classified together, as predict --transductive does")


def _calibration(found: Evaluation) -> str:
    error = f"{100 * found.calibration_error:.1f} points"
    if found.temperature == 1:
        return f"{error}; the adapter has no temperature"
    before = replace(found, temperature=1.0).calibration_error
    return f"{100 * before:.1f} points, {error} with its temperature of {found.temperature:.2f}"


def _class_table(classes: list[ClassResult]) -> Table:
    """A row for each class; of many classes, those with the lowest shares of correct images."""
    more = f"; the {_ROWS} lowest of {len(classes)}" if len(classes) > 2 * _ROWS else ""
    table = Table(title=f"Classes, in %{more}", box=None, padding=(0, 1, 0, 0))
    for title in ("class", "images", "correct", "95 % interval", "precision", "most taken for"):
        is_name = title in ("class", "most taken for")
        table.add_column(title, justify="left" if is_name else "right", no_wrap=True)
    if more:
        classes = sorted(classes, key=lambda each: np.nan_to_num(each.recall, nan=2))[:_ROWS]
    for each in classes:
        low, high = interval(each.correct, each.images)
        table.add_row(
            _short(each.name),
            f"{each.images:,}",
            percent(each.recall),
            f"{100 * low:.0f} to {100 * high:.0f}",
            percent(each.precision),
            _short(each.taken_for or ""),
        )
    return table


def _confusions(found: Evaluation) -> Table:
    """The confusion matrix in % of each row; of many classes, the most frequent confusions."""
    names, counts = found.classnames, found.confusion
    if len(names) > _MATRIX_CLASSES:
        table = Table(title="Most frequent confusions", box=None)
        for title in ("images", "of", "class", "taken for"):
            table.add_column(title, justify="right" if title in ("images", "of") else "left")
        wrong = counts * (1 - np.eye(len(names), dtype=np.int64))
        for place in np.argsort(-wrong, axis=None, kind="stable")[:_ROWS]:
            row, column = divmod(int(place), len(names))
            if wrong[row, column]:
                of = f"{counts[row].sum():,}"
                pair = _short(names[row]), _short(names[column])
                table.add_row(f"{wrong[row, column]:,}", of, *pair)
        return table
    table = Table(
        title="Confusion: % of each class (row) that are taken for a class (column)",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("")
    for place in range(len(names)):
        table.add_column(str(place + 1), justify="right", no_wrap=True, min_width=3)
    for place, (name, row) in enumerate(zip(names, counts, strict=True)):
        shares = 100 * row / max(1, row.sum())
        cells = [f"{share:.0f}" if count else "·" for share, count in zip(shares, row, strict=True)]
        label = Text(f"{place + 1:>2} ")
        table.add_row(label + _short(name), *cells)
    return table


def _short(name: str) -> Text:
    text = printable(name)
    return Text(text if len(text) <= _NAME else f"{text[: _NAME - 1]}…")


def _write(found: Evaluation, images: Any, options: argparse.Namespace) -> None:
    """Write evaluation.json, predictions.csv and confusion.png."""
    from craft_zoo.benchmarks.confusion import plot_confusion  # loads Matplotlib

    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    low, high = found.interval
    kept = found.abstain(options.coverage)
    about = {
        "adapter": str(options.adapter),
        "dataset": options.dataset,
        "transductive": found.transductive,
        "images": len(found),
        "accuracy": found.accuracy,
        "interval": [low, high],
        "accuracy_of_all_classes": found.accuracy_of_all,
        "zero_shot": found.zero_shot_accuracy,
        "calibration_error": found.calibration_error,
        "temperature": found.temperature,
        "coverage": kept.coverage,
        "threshold": kept.threshold,
        "accuracy_at_coverage": kept.accuracy,
        "classes": list(found.classnames),
        "confusion": found.confusion.tolist(),
    }
    text = json.dumps(about, ensure_ascii=False, indent=1)
    # A byte of a path that is not UTF-8 becomes an escape of JSON.
    write_atomically(out / "evaluation.json", text.encode("utf-8", "backslashreplace"))
    with (
        replacing(out / "predictions.csv") as beside,
        beside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        _write_rows(found, images, CsvRows(file))
    plot_confusion(found.confusion, found.classnames, out / "confusion.png")


def _write_rows(found: Evaluation, images: Any, rows: CsvRows) -> None:
    """Write a row for each image: its path or number, its class, and what it is taken for."""
    rows.write(("image", "class", "predicted", "probability", "zero_shot"))
    names = (*found.classnames, "")  # the last of images that were refused
    zero_shots, probabilities = predicted(found.zero_shot), found.probabilities.max(axis=1)
    answers = zip(found.labels, found.predicted, zero_shots, probabilities, strict=True)
    for place, (label, taken_for, zero_shot, probability) in enumerate(answers):
        source = images[place]
        image = str(source) if isinstance(source, str | Path) else str(place)
        row = image, names[label], names[taken_for], f"{probability:.4f}", names[zero_shot]
        rows.write(row)
