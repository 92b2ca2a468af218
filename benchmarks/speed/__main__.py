"""``python -m craft_zoo.benchmarks.speed``: measures, prints tables and writes CSV files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch

from craft_zoo.benchmarks.speed.harness import measure_journal, measure_parallel
from craft_zoo.benchmarks.speed.images import measure_images
from craft_zoo.benchmarks.speed.large import measure_growth, measure_large
from craft_zoo.benchmarks.speed.load import load_table, measure_classify, measure_load
from craft_zoo.benchmarks.speed.machine import Rows
from craft_zoo.benchmarks.speed.scaling import (
    exponent,
    measure_jobs,
    measure_memory,
    measure_scaling,
    plot_scaling,
)
from craft_zoo.benchmarks.speed.scoring import ARCHITECTURES, CLASSES, measure_scoring
from craft_zoo.benchmarks.speed.serving import measure_loopback
from craft_zoo.benchmarks.speed.settings import measure_settings
from craft_zoo.benchmarks.speed.whole_run import WAYS, measure_runs
from craft_zoo.errors import CraftZooError
from craft_zoo.files import write_atomically
from craft_zoo.machine import keep_freed_memory, use_threads

_ROUTES = ("scores", "classify")  # routes that are measured under load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen measurement; returns the exit code: 0, or 2 for bad input."""
    options = _parser().parse_args(arguments)
    keep_freed_memory()
    try:
        if options.threads is not None:
            use_threads(options.threads)
        options.out.mkdir(parents=True, exist_ok=True)
        print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}, float32")
        options.measure(options)
    except (CraftZooError, OSError) as error:
        print(f"craft-zoo: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m craft_zoo.benchmarks.speed",
        description="Time and memory of craft-zoo and of naive implementations on this machine.",
    )
    commands = parser.add_subparsers(metavar="WHAT", required=True)

    def command(
        name: str, measure: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text)
        added.add_argument("--threads", type=int, help="threads to compute with (default: all)")
        added.add_argument(
            "--out",
            type=Path,
            default=Path("craft-zoo-speed"),
            metavar="DIR",
            help="folder for tables and plots (default: craft-zoo-speed)",
        )
        added.set_defaults(measure=measure)
        return added

    scoring = command(
        "scoring", _scoring, "scoring a generation: as released, without padding, by the engine"
    )
    scoring.add_argument("--model", action="append", choices=ARCHITECTURES, help="(default: all)")
    scoring.add_argument("--classes", action="append", type=int, help=f"(default: {CLASSES})")
    scoring.add_argument("--compile", action="store_true", help="compile the engine's tower")
    command("images", _images, "features of images: by the bare model, usual loops, and craft-zoo")
    run = command("run", _run, "a whole run, compared with the released loop")
    command("scaling", _scaling, "cost by number of candidates, classes and queries")
    command("growth", _growth, "cost of a run by number of classes, images and queries")
    command("jobs", _jobs, "gain of scoring the generations of four runs in one call")
    command("memory", _memory, "memory of a generation at ImageNet's size")
    large = command("large", _large, "time and memory of a run with many classes")
    for name, number in (("classes", 1000), ("shots", 4), ("queries", 100)):
        large.add_argument(f"--{name}", type=int, default=number, help=f"(default: {number})")
    command("settings", _settings, "effect of the settings for threads and memory")
    command("harness", _harness, "cost of the journal, and gain of two processes")
    serving = command("serving", _serving, "cost of querying a served model")
    for each in (run, serving):
        each.add_argument("--dataset", default="digits", help="or folder:PATH (default: digits)")
        each.add_argument("--classnames", metavar="FILE", help="words for the classes")
    run.add_argument("--way", action="append", choices=WAYS, help="(default: all)")
    for name, number in (("queries", 8000), ("seeds", 3)):
        run.add_argument(f"--{name}", type=int, default=number, help=f"(default: {number})")
    load = command("load", _load, "gain of a server from batching requests")
    load.add_argument(
        "--route",
        action="append",
        choices=_ROUTES,
        help="scores: of a model; classify: by an adapter (default: both)",
    )
    return parser


def _scoring(options: argparse.Namespace) -> None:
    models, classes = options.model or ARCHITECTURES, options.classes or CLASSES
    rows = measure_scoring(models, classes, compile=options.compile)
    _print(_write_csv(rows, options.out / "scoring.csv").set_index(["architecture", "classes"]).T)


def _images(options: argparse.Namespace) -> None:
    threads = (1, 2) if options.threads is None else (options.threads,)
    measured = _write_csv(measure_images(threads=threads), options.out / "images.csv")
    ways = measured.groupby(["model", "images", "threads", "way"], sort=False)
    _print(ways[["per_second", "ratio"]].median())


def _run(options: argparse.Namespace) -> None:
    rows = measure_runs(
        options.dataset,
        classnames=options.classnames,
        budget=options.queries,
        seeds=options.seeds,
        only=options.way or WAYS,
    )
    measured = _write_csv(rows, options.out / "runs.csv")
    columns = ["seconds", "processor", "beyond", "accuracy", "megabytes"]
    means = measured.groupby("way", sort=False)[columns].mean()
    _print(means.assign(times_faster=means["seconds"].max() / means["seconds"]))


def _scaling(options: argparse.Namespace) -> None:
    plot_scaling(_write_csv(measure_scaling(), options.out / "scaling.csv"), options.out)


def _growth(options: argparse.Namespace) -> None:
    measured = _write_csv(measure_growth(), options.out / "growth.csv")
    slopes = [
        {
            "what": what,
            **{cost: exponent(points["size"], points[cost]) for cost in points.columns[2:]},
        }
        for what, points in measured.groupby("what", sort=False)
    ]
    _print(pd.DataFrame(slopes).set_index("what"))


def _jobs(options: argparse.Namespace) -> None:
    _write_csv(measure_jobs(), options.out / "jobs.csv")


def _memory(options: argparse.Namespace) -> None:
    _print(_write_csv(map(measure_memory, ARCHITECTURES), options.out / "memory.csv"))


def _large(options: argparse.Namespace) -> None:
    rows = iter([measure_large(options.classes, options.shots, options.queries)])
    _print(_write_csv(rows, options.out / "large.csv").T)


def _settings(options: argparse.Namespace) -> None:
    measured = _write_csv(measure_settings(), options.out / "settings.csv")
    _print(measured.groupby(["setting", "beside"], sort=False)["seconds"].median().unstack())


def _serving(options: argparse.Namespace) -> None:
    rows = measure_loopback(options.dataset, classnames=options.classnames)
    measured = _write_csv(rows, options.out / "loopback.csv")
    _print(measured.groupby("where").agg({"seconds": "median", "same": "all"}))


def _load(options: argparse.Namespace) -> None:
    routes = options.route or _ROUTES
    if "scores" in routes:
        _print(load_table(_write_csv(measure_load(), options.out / "load.csv")))
    if "classify" in routes:
        _print(load_table(_write_csv(measure_classify(), options.out / "classify.csv")))


def _harness(options: argparse.Namespace) -> None:
    parallel = _write_csv(measure_parallel(), options.out / "parallel.csv")
    _print(parallel.groupby("processes")[["seconds"]].median())
    journal = _write_csv(measure_journal(), options.out / "journal.csv")
    seconds = journal.groupby(["optimizer", "journal"], sort=False)["seconds"].median().unstack()
    _print(seconds.div(seconds["none"], axis="index"))


def _write_csv(rows: Rows, path: Path) -> pd.DataFrame:
    """Print rows as they are measured, and write them all to a file."""
    found = []
    for row in rows:
        print(*(f"{v:.4g}" if isinstance(v, float) else v for v in row.values()), sep=", ")
        found.append(row)
    measured = pd.DataFrame(found)
    write_atomically(path, measured.to_csv(index=False, float_format="%.6g"))
    return measured


def _print(table: pd.DataFrame) -> None:
    print(table.to_string(float_format="{:.3g}".format))


if __name__ == "__main__":
    sys.exit(main())
