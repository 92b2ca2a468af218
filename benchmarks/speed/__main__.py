"""``python -m craft_zoo.benchmarks.speed``: measures, prints tables and writes CSV files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console

from craft_zoo.benchmarks.speed import (
    exponent,
    measure_journal,
    measure_memory,
    measure_parallel,
    measure_runs,
    measure_scaling,
    measure_scoring,
    measure_settings,
    memory_table,
    plot_scaling,
    runs_table,
    scoring_table,
    settings_table,
)
from craft_zoo.benchmarks.speed.classify import classify_table, measure_classify
from craft_zoo.benchmarks.speed.images import ARCHITECTURES as IMAGE_ARCHITECTURES
from craft_zoo.benchmarks.speed.images import DEFAULT, images_table, measure_images
from craft_zoo.benchmarks.speed.load import MODELS, load_table, measure_load
from craft_zoo.benchmarks.speed.scoring import ARCHITECTURES, CLASSES, POPSIZE
from craft_zoo.benchmarks.speed.serving import measure_loopback
from craft_zoo.console import open_console
from craft_zoo.errors import CraftZooError
from craft_zoo.files import write_atomically
from craft_zoo.machine import keep_freed_memory, use_threads

_ROUTES = ("scores", "classify")  # of what is served under load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen measurement.

    Returns:
        The exit code: 0, 2 for bad input, 130 when interrupted.
    """
    options = _parser().parse_args(arguments)
    keep_freed_memory()
    console = open_console()
    try:
        if options.threads is not None:
            use_threads(options.threads)
        options.out.mkdir(parents=True, exist_ok=True)
        console.print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}, float32")
        options.measure(options, console)
    except (CraftZooError, OSError) as error:
        print(f"craft-zoo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("craft-zoo: interrupted", file=sys.stderr)
        return 130
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m craft_zoo.benchmarks.speed",
        description="Time and memory against a naive way, in one run on this machine.",
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--threads", type=_positive, help="threads to compute with (default: all)")
    shared.add_argument(
        "--out",
        type=Path,
        default=Path("craft-zoo-speed"),
        metavar="DIR",
        help="folder for tables and plots (default: craft-zoo-speed)",
    )
    commands = parser.add_subparsers(metavar="WHAT", required=True)

    scoring = commands.add_parser(
        "scoring", parents=[shared], help="a generation: as released, without padding, the engine"
    )
    scoring.add_argument("--model", action="append", choices=ARCHITECTURES, help="(default: all)")
    scoring.add_argument("--classes", action="append", type=_positive, help=f"(default: {CLASSES})")
    scoring.add_argument("--popsize", type=_positive, default=POPSIZE, help=f"(default: {POPSIZE})")
    scoring.add_argument("--compile", action="store_true", help="compile the engine's tower")
    scoring.set_defaults(measure=_scoring)

    images = commands.add_parser(
        "images", parents=[shared], help="features of images: the bare model, usual loops, ours"
    )
    images.add_argument(
        "--model",
        action="append",
        choices=IMAGE_ARCHITECTURES,
        help=f"(default: {', '.join(DEFAULT)})",
    )
    images.add_argument(
        "--images",
        type=_positive,
        metavar="N",
        help="of each kind (default: as many as take a second or more)",
    )
    images.add_argument("--repeats", type=_positive, default=3, help="(default: 3)")
    images.set_defaults(measure=_images)

    run = commands.add_parser("run", parents=[shared], help="a whole run against the released loop")
    run.add_argument("--dataset", default="digits", help="digits or folder:PATH (default: digits)")
    run.add_argument("--classnames", metavar="FILE", help="words for the classes")
    run.add_argument("--shots", type=_positive, default=16, help="(default: 16)")
    run.add_argument("--budget", type=_positive, default=8000, help="queries (default: 8000)")
    run.add_argument("--seeds", type=_positive, default=3, help="(default: 3)")
    run.set_defaults(measure=_run)

    scaling = commands.add_parser(
        "scaling", parents=[shared], help="cost against candidates, classes and budget"
    )
    scaling.set_defaults(measure=_scaling)

    memory = commands.add_parser(
        "memory", parents=[shared], help="memory of a generation at ImageNet's size"
    )
    memory.add_argument("--model", action="append", choices=ARCHITECTURES, help="(default: all)")
    memory.set_defaults(measure=_memory)

    settings = commands.add_parser(
        "settings", parents=[shared], help="what the settings for threads and memory are worth"
    )
    settings.set_defaults(measure=_settings)

    harness = commands.add_parser(
        "harness", parents=[shared], help="what the journal costs, and two processes gain"
    )
    harness.set_defaults(measure=_harness)
    serving = commands.add_parser("serving", parents=[shared], help="what a network between costs")
    serving.add_argument("--dataset", default="digits", help="of the run (default: digits)")
    serving.add_argument("--classnames", metavar="FILE", help="words for its classes")
    serving.add_argument("--budget", type=int, default=8000, help="of the run (default: 8000)")
    serving.set_defaults(measure=_serving)

    load = commands.add_parser(
        "load", parents=[shared], help="what a server gains by putting requests together"
    )
    load.add_argument("--model", action="append", choices=MODELS, help="(default: all)")
    load.add_argument(
        "--route",
        action="append",
        choices=_ROUTES,
        help="scores of a model, or classify of an adapter (default: both)",
    )
    load.set_defaults(measure=_load)
    return parser


def _scoring(options: argparse.Namespace, console: Console) -> None:
    measured = measure_scoring(
        options.model or ARCHITECTURES,
        options.classes or CLASSES,
        popsize=options.popsize,
        compile=options.compile,
        console=console,
    )
    console.print(scoring_table(measured))
    _keep(measured, options.out / "scoring.csv")


def _images(options: argparse.Namespace, console: Console) -> None:
    measured = measure_images(
        options.model or DEFAULT,
        count=options.images,
        repeats=options.repeats,
        threads=(1, 2) if options.threads is None else (options.threads,),
        console=console,
    )
    console.print(images_table(measured))
    _keep(measured, options.out / "images.csv")


def _run(options: argparse.Namespace, console: Console) -> None:
    measured = measure_runs(
        options.dataset,
        classnames=options.classnames,
        shots=options.shots,
        budget=options.budget,
        seeds=options.seeds,
        console=console,
    )
    console.print(runs_table(measured))
    _keep(measured, options.out / "runs.csv")


def _scaling(options: argparse.Namespace, console: Console) -> None:
    measured = measure_scaling(console)
    for what, points in measured.groupby("what", sort=False):
        slope = exponent(points["size"].tolist(), points["seconds"].tolist())
        console.print(f"cost ~ {what}^{slope:.2f}")
    plot_scaling(measured, options.out)
    _keep(measured, options.out / "scaling.csv")


def _memory(options: argparse.Namespace, console: Console) -> None:
    measured = pd.DataFrame([measure_memory(name) for name in options.model or ARCHITECTURES])
    console.print(memory_table(measured))
    _keep(measured, options.out / "memory.csv")


def _settings(options: argparse.Namespace, console: Console) -> None:
    measured = measure_settings(console=console)
    console.print(settings_table(measured))
    _keep(measured, options.out / "settings.csv")


def _serving(options: argparse.Namespace, console: Console) -> None:
    loopback = measure_loopback(
        dataset=options.dataset,
        classnames=options.classnames,
        budget=options.budget,
        console=console,
    )
    medians = loopback.groupby("where", sort=False)["seconds"].median()
    ratio = medians["a server"] / medians["one process"]
    alike = "the same" if loopback["same"].all() else "NOT the same"
    console.print(f"Through a server: {ratio:.2f} times the time, {alike} to the last bit")
    _keep(loopback, options.out / "loopback.csv")


def _load(options: argparse.Namespace, console: Console) -> None:
    models, threads = options.model or MODELS, torch.get_num_threads()
    routes = options.route or _ROUTES
    if "scores" in routes:
        load = measure_load(models=models, threads=threads, console=console)
        console.print(load_table(load))
        _keep(load, options.out / "load.csv")
    if "classify" in routes:
        classified = measure_classify(models=models, threads=threads, console=console)
        console.print(classify_table(classified))
        _keep(classified, options.out / "classify.csv")


def _harness(options: argparse.Namespace, console: Console) -> None:
    parallel = measure_parallel(console=console)
    medians = parallel.groupby("processes")["seconds"].median()
    console.print(f"2 processes are {medians[1] / medians[2]:.2f} times as fast as one")
    _keep(parallel, options.out / "parallel.csv")
    journal = measure_journal(console=console)
    medians = journal.groupby(["optimizer", "journal"], sort=False)["seconds"].median()
    for (optimizer, name), seconds in medians.items():
        ratio = seconds / medians[optimizer, "none"]
        console.print(f"{optimizer}, journal: {name}: {ratio:.2f} times the time without")
    _keep(journal, options.out / "journal.csv")


def _keep(measured: pd.DataFrame, path: Path) -> None:
    write_atomically(path, measured.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    sys.exit(main())
