"""``craft-zoo tune``: adapt a model once and keep the adapter."""

from __future__ import annotations

import argparse
from pathlib import Path

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import Journal, fill
from craft_zoo.cli.arguments import (
    add_classnames_argument,
    add_config_argument,
    add_data_arguments,
    add_in_flight_argument,
    add_model_arguments,
    check_in_flight,
    open_model,
    read_config,
    read_source,
    say_skipped,
)
from craft_zoo.cli.progress import ReadingBar, add_bar, query_progress, saying, show
from craft_zoo.console import open_console
from craft_zoo.craft import Step
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import DEFAULT_CHOOSER, DEFAULT_OPTIMIZER, method_names, recorded
from craft_zoo.tuning import tune


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "tune",
        help="adapt a model to your images and save the adapter",
        description="Adapt a model to a few images of each class and save what was learned. "
        "Stopped or killed, the same command goes on where it was, and asks nothing again that "
        "was answered.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="see craft-zoo datasets, or folder:PATH")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the adapter")
    parser.add_argument(
        "--method", default="craft", metavar="NAME", help=f"{', '.join(method_names())} (craft)"
    )
    parser.add_argument(
        "--optimizer",
        metavar="SPEC",
        help=f"see craft-zoo optimizers (default: {DEFAULT_OPTIMIZER}, or {DEFAULT_CHOOSER})",
    )
    add_classnames_argument(parser)
    parser.add_argument(
        "--shots", type=int, default=16, help="training images a class (default: 16)"
    )
    parser.add_argument("--budget", type=int, default=8000, help="queries (default: 8000)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    add_data_arguments(parser)
    add_config_argument(parser)
    add_in_flight_argument(parser)
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry the command out."""
    config = read_config(options)
    check_in_flight(options)
    if not options.out.parent.is_dir():
        raise CraftZooError(f"folder {options.out.parent} does not exist: create it")
    source = read_source(options)
    dataset = source.open(options.dataset, options.classnames)
    say_skipped(dataset.name, dataset.skipped, open_console())
    task = source.draw(dataset, options.shots, options.seed)
    vlm = open_model(options)
    with Journal(f"{options.out}.journal") as journal, query_progress() as progress:
        if journal.replaying:
            progress.console.print("Going on where it was stopped")
        reading = ReadingBar(progress)
        bar = add_bar(progress, task.name, options.budget)

        def show_step(step: Step) -> None:
            show(progress, bar, step.queries, step.loss, step.train_accuracy)
            if step.ended:
                text = f"The search ended after {step.queries:,} queries: {step.ended}"
                progress.console.print(text, soft_wrap=True, markup=False)

        with saying(progress, "Stopped. The same command goes on, and asks nothing again."):
            tuned = tune(
                recorded(vlm, options.method, journal, options.in_flight),
                task,
                method=options.method,
                optimizer=options.optimizer,
                budget=options.budget,
                seed=options.seed,
                config=config,
                callbacks=[show_step],
                progress=reading,
            )
        tuned.adapter.save(options.out)
        journal.remove()
    for line in _in_words(tuned.adapter):
        open_console().print(line, soft_wrap=True, markup=False)
    size = options.out.stat().st_size / 1024
    predictions = sum(tuned.meter.predictions.values())
    open_console().print(
        f"Saved {options.out} ({size:.0f} KB) after {tuned.meter.queries:,} queries "
        f"({predictions:,} predictions). Use it: craft-zoo predict {options.out} IMAGES…",
        soft_wrap=True,
    )
    return 0


def _in_words(adapter: Adapter) -> list[str]:
    """The prompt that was found, if it is in words."""
    prompt = adapter.solution.prompt
    if isinstance(prompt, str):
        return [f'The prompt, in words: "{prompt}"']
    if isinstance(prompt, tuple):
        names = adapter.classnames
        told = [f"  {fill(template, name)}" for template, name in zip(prompt, names, strict=True)]
        return ["The prompts, in words:", *told]
    return []
