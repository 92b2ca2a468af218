"""``craft-zoo tune``: adapt a model once and keep the adapter."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import VLM, Journal, Progress, RememberingVLM, ReplayVLM, fill
from craft_zoo.cli.arguments import (
    add_classnames_argument,
    add_config_argument,
    add_data_arguments,
    add_in_flight_argument,
    add_model_arguments,
    check_in_flight,
    check_limits,
    group_of,
    read_assignments,
    read_config,
    read_dataset,
    read_model,
    say_skipped,
)
from craft_zoo.cli.progress import ReadingBar, add_bar, query_progress, saying, show
from craft_zoo.console import open_console
from craft_zoo.counts import counted
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.estimate import Choice, choose_estimate, cross_validate, measure
from craft_zoo.methods import (
    DEFAULT_CHOOSER,
    DEFAULT_OPTIMIZER,
    method_names,
    most_predictions,
    most_queries,
    readers_of,
    recorded,
)
from craft_zoo.tuning import (
    BILLED_BUDGET,
    DEFAULT_BUDGET,
    Tuned,
    check_settings,
    check_tuning,
    tune,
)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "tune",
        description="Adapt a model to a few images of each class and save what was learned. "
        "Stopped or killed, the same command goes on where it was, and asks nothing again that "
        "was answered.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="see craft-zoo datasets, or folder:PATH")
    data, method = group_of(parser, "data"), group_of(parser, "method")
    output = group_of(parser, "output")
    data.add_argument("--shots", type=int, default=16, help="training images a class (default: 16)")
    add_classnames_argument(parser)
    add_data_arguments(parser)
    method.add_argument(
        "--method",
        default="craft",
        metavar="NAME",
        help=f"{', '.join(method_names())} (default: craft)",
    )
    method.add_argument(
        "--optimizer",
        metavar="SPEC",
        help=f"see craft-zoo optimizers (default: {DEFAULT_OPTIMIZER}, or {DEFAULT_CHOOSER})",
    )
    method.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help=f"queries (default: {DEFAULT_BUDGET:,}; {BILLED_BUDGET} of a model that bills)",
    )
    method.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    add_config_argument(parser)
    output.add_argument("--out", type=Path, required=True, metavar="FILE", help="the adapter")
    output.add_argument(
        "--force", action="store_true", help="replace the adapter that --out names, if there is one"
    )
    output.add_argument(
        "--estimate",
        choices=("auto", "cross-validate", "none"),
        default="auto",
        help="how the accuracy on new images is estimated at the end: at little cost, by tuning "
        "four times more without a quarter of the shots, or not (default: auto)",
    )
    add_model_arguments(parser)
    add_in_flight_argument(parser)
    group_of(parser, "money").add_argument(
        "--dry-run",
        action="store_true",
        help="say what the run may cost, ask nothing and write nothing",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry the command out."""
    console = open_console()
    config = read_config(options)
    check_in_flight(options)
    arguments: dict[str, Any] = {
        "method": options.method,
        "optimizer": options.optimizer,
        "budget": options.budget,
        "seed": options.seed,
        "config": config,
    }
    check_settings(**arguments)  # before data and model are opened, which takes time
    for setting in read_assignments(options):
        if options.method not in readers_of(setting):
            console.print(f"{options.method} does not read the setting {setting}: see --help")
    _check_out(options.out, force=options.force)
    spec = read_dataset(options)
    dataset = spec.open()
    say_skipped(dataset.name, dataset.skipped, console)
    task = spec.draw(dataset, options.shots, options.seed)
    vlm = read_model(options).open()
    budget = arguments["budget"] = check_tuning(vlm, task, **arguments)
    estimate = _no_estimate(task)
    if options.estimate != "none":
        whole = options.estimate == "cross-validate"
        choice = options.method, config, budget
        estimate = choose_estimate(task, *choice, seed=options.seed, bills=vlm.bills, whole=whole)
    most = Cost.at_most(task, options.method, config, budget, estimate.predictions)
    path = Path(f"{options.out}.journal")
    answered = _answered(path)
    known = f", of which {counted(answered, 'prediction')} were answered before" if answered else ""
    console.print(f"At most {most.in_words(options.price)}{known}", soft_wrap=True, markup=False)
    if vlm.bills and options.budget is None:
        console.print(f"The budget is {budget} queries, as the model bills: see --budget")
    check_limits(options, most.total - answered, "lower --budget")
    if options.dry_run:
        return 0
    with Journal(str(path)) as journal, query_progress() as progress:
        if journal.replaying:
            progress.console.print("Going on where it was stopped")
        reading = ReadingBar(progress)
        bar = add_bar(progress, task.name, most.queries)

        def show_step(step: Step) -> None:
            show(progress, bar, step.queries, step.loss, step.train_accuracy, "training accuracy")
            if step.ended:
                text = f"The search ended after {step.queries:,} queries: {step.ended}"
                progress.console.print(text, soft_wrap=True, markup=False)

        behind = recorded(vlm, options.method, journal, options.in_flight)
        # Of a method that searches nothing, what was asked in tuning is known to the estimate.
        asked = RememberingVLM(behind) if estimate.kind == "shots" else behind
        with saying(progress, "Stopped. The same command goes on, and asks nothing again."):
            tuned = tune(asked, task, callbacks=[show_step], progress=reading, **arguments)
            if estimate.kind == "refine":
                asked = RememberingVLM(behind)
            figures = _estimated(tuned, asked, task, estimate, arguments, reading)
        tuned.adapter.save(options.out)
        journal.remove()
    for line in (*_in_words(tuned.adapter), *figures):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    made = Cost(tuned.meter.queries, tuned.meter.billed, estimate.predictions)
    if isinstance(behind, ReplayVLM):
        made = replace(made, estimate=behind.predictions - made.predictions)
    console.print(
        f"Saved {options.out} ({options.out.stat().st_size / 1024:.0f} KB) after "
        f"{made.in_words(options.price)}. Use it: craft-zoo predict {options.out} IMAGES…",
        soft_wrap=True,
        markup=False,
    )
    return 0


def _check_out(out: Path, *, force: bool) -> None:
    """That the adapter can be written there, and replaces no other unasked.

    Raises:
        CraftZooError: it cannot, or would.
    """
    if not out.parent.is_dir():
        raise CraftZooError(f"folder {out.parent} does not exist: create it")
    if out.is_dir():
        raise CraftZooError(f"--out {out} is a folder: name a file in it")
    if not os.access(out.parent, os.W_OK):
        raise CraftZooError(f"folder {out.parent} cannot be written: choose another --out")
    if out.exists() and not force:
        raise CraftZooError(f"{out} exists: choose another --out, or replace it with --force")


@dataclass(frozen=True)
class Cost:
    """What a run asks for.

    Attributes:
        queries: of the search.
        predictions: that a service bills for search and refiner.
        estimate: that it bills for the estimate at the end.
    """

    queries: int
    predictions: int
    estimate: int

    @classmethod
    def at_most(
        cls, task: Task, method: str, config: CraftConfig, budget: int, estimate: int
    ) -> Cost:
        """Before the run."""
        sizes = len(task.train), len(task.classnames)
        queries = most_queries(method, config, budget, sizes[1])
        return cls(queries, most_predictions(method, config, budget, *sizes), estimate)

    @property
    def total(self) -> int:
        """All predictions."""
        return self.predictions + self.estimate

    def in_words(self, price: float | None) -> str:
        """As counted; ``price`` is of 1,000 predictions."""
        words = f"{counted(self.queries, 'query')} ({counted(self.predictions, 'prediction')}"
        words += f", and {self.estimate:,} for the estimate)" if self.estimate else ")"
        if price is None:
            return words
        return f"{words}, a price of {self.total * (price / 1000):,.2f}"


def _answered(journal: Path) -> int:
    """Predictions that a run which was stopped has in its journal, and does not ask for again.

    Raises:
        CraftZooError: it cannot be read, or another process is at work on it.
    """
    if not journal.exists():
        return 0
    with Journal(journal) as begun:
        return begun.answered


def _no_estimate(task: Task) -> Choice:
    return Choice("none", task.train.take(np.zeros(0, np.int64)), 0, "not asked for")


def _estimated(
    tuned: Tuned,
    vlm: VLM,
    task: Task,
    choice: Choice,
    arguments: dict[str, Any],
    progress: Progress,
) -> list[str]:
    """The accuracies, in words: on the training images, and estimated for new ones."""
    shots = f"Training accuracy, of the {len(task.train):,} images that it was fitted to"
    lines = [] if np.isnan(tuned.train_accuracy) else [f"{shots}: {tuned.train_accuracy:.1%}"]
    if choice.kind == "none":
        return [*lines, f"Accuracy on new images: not estimated, {choice.words}"]
    try:
        if choice.kind == "outside":
            found = measure(tuned.adapter, vlm, choice.images, progress)
        else:
            method = {"method": "refine", "optimizer": None} if choice.kind == "refine" else {}
            found = reduce(add, cross_validate(vlm, task, **(arguments | method)))
    except CraftZooError as error:  # a limit is reached, say; the adapter is kept all the same
        return [*lines, f"Accuracy on new images: not estimated ({error})"]
    return [*lines, f"Accuracy on new images, an estimate: {found}; {choice.words}"]


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
