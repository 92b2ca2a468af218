"""Adapt a model to a few images of each class and save the adapter.

Run the same command again to continue after an interruption; answers received so far are read from
a journal and not paid for twice.
"""

from __future__ import annotations

import argparse
import shlex
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from craft_zoo import canaries
from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import VLM, Journal, RememberingVLM, Usage, fill, is_address
from craft_zoo.cli.arguments import (
    add_classnames_argument,
    add_config_argument,
    add_data_arguments,
    add_in_flight_argument,
    add_model_arguments,
    add_sampling_arguments,
    check_in_flight,
    check_out,
    group_of,
    read_assignments,
    read_config,
    read_dataset,
    read_model,
    say_refused,
    say_skipped,
)
from craft_zoo.cli.money import check_limits, limits_of, unpriced_llm
from craft_zoo.cli.progress import ReadingBar, SearchBar, query_progress
from craft_zoo.cli.resuming import continuing
from craft_zoo.cli.tuning_cost import Cost, cost_of, highest_cost
from craft_zoo.cli.tuning_estimate import estimated, read_estimate
from craft_zoo.client.prices import price_of
from craft_zoo.console import open_console, say
from craft_zoo.counts import counted
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Task
from craft_zoo.data.copies import distinct
from craft_zoo.errors import CraftZooError
from craft_zoo.evaluation import Evaluation
from craft_zoo.methods import (
    DEFAULT_CATEGORICAL_OPTIMIZER,
    DEFAULT_OPTIMIZER,
    find_method,
    method_names,
    readers_of,
    recorded,
)
from craft_zoo.optimizers import OptimizerError
from craft_zoo.printable import printable
from craft_zoo.refiner.prior import TRAIN, UNIFORM, read_prior
from craft_zoo.rehearsal import check_start
from craft_zoo.tuning import (
    BILLED_BUDGET,
    DEFAULT_BUDGET,
    check_settings,
    check_tuning,
    tune,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("dataset", metavar="DATASET", help="see craft-zoo datasets, or folder:PATH")
    data, method = group_of(parser, "data"), group_of(parser, "method")
    output = group_of(parser, "output")
    data.add_argument("--shots", type=int, default=16, help="images per class (default: 16)")
    add_classnames_argument(parser)
    add_data_arguments(parser)
    add_sampling_arguments(parser)
    method.add_argument(
        "--method",
        default="craft",
        metavar="NAME",
        help=f"{', '.join(method_names())} (default: craft)",
    )
    method.add_argument(
        "--optimizer",
        metavar="SPEC",
        help=f"see craft-zoo optimizers (default: {DEFAULT_OPTIMIZER}; "
        f"{DEFAULT_CATEGORICAL_OPTIMIZER} for methods that search words)",
    )
    method.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help=f"queries (default: {DEFAULT_BUDGET:,}; {BILLED_BUDGET} where one bills)",
    )
    method.add_argument("--seed", type=int, default=1, help="seed of all random draws (default: 1)")
    method.add_argument(
        "--prior",
        metavar="uniform|train|FILE",
        help="how likely the adapter takes each class to be before it sees an image: equally "
        "likely, as frequent as among the shots, or a line for each class in a file: name, tab, "
        "number (default: uniform)",
    )
    add_config_argument(parser)
    output.add_argument("--out", type=Path, required=True, metavar="FILE", help="adapter file")
    output.add_argument(
        "--force",
        action="store_true",
        help="overwrite an existing adapter file",
    )
    accuracy = output.add_mutually_exclusive_group()
    accuracy.add_argument(
        "--estimate",
        choices=("auto", "cross-validate", "none"),
        metavar="WAY",
        default="auto",
        help="estimate of the accuracy on new images: auto at little cost, cross-validate by "
        "tuning four more times, each without a quarter of the shots, or none (default: auto)",
    )
    accuracy.add_argument(
        "--calibrate",
        metavar="DATASET",
        help="estimate the accuracy, and fit the temperature of the probabilities, on the test "
        "images of this data set (default: on images outside the shots, or by cross-validation)",
    )
    output.add_argument(
        "--no-canaries",
        action="store_true",
        help=f"keep no small copies of {canaries.COUNT} training images in the adapter, with which "
        "craft-zoo check finds out whether the model has changed",
    )
    add_model_arguments(parser)
    add_in_flight_argument(parser)
    group_of(parser, "money").add_argument(
        "--dry-run",
        action="store_true",
        help="print the maximum cost of the run; send no query and write no file",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    console = open_console()
    arguments = _arguments(options, console)
    check_out(options.out, force=options.force)
    spec = read_dataset(options)
    dataset = spec.open()
    say_skipped(dataset.name, dataset.skipped, console)
    task = spec.draw(dataset, options.shots, options.seed)
    task = replace(task, train=distinct(task.train))
    if options.prior is not None:
        prior = read_prior(options.prior, task.classnames)
        arguments["config"] = replace(arguments["config"], prior=prior)
    vlm = read_model(options).open()
    arguments["budget"] = check_tuning(vlm, task, **arguments)
    estimate = read_estimate(options, spec, task, arguments, bills=vlm.bills)
    kept = [] if options.no_canaries else canaries.canary_images(task.train)
    most = highest_cost(vlm, task, arguments, estimate, kept)
    path, price = Path(f"{options.out}.journal"), price_of(options.model, options.price)
    answered = _answered(path)
    known = f", of which {counted(answered, 'prediction')} were answered before" if answered else ""
    say(console, f"At most {most.in_words(price)}{known}", *unpriced_llm([options.method], price))
    say(console, *_remarks(options, arguments, task, vlm, most))
    left = max(0, most.total.predictions - answered) / max(1, most.total.predictions)

    def cost_at(budget: int) -> Usage:
        given = arguments | {"budget": budget}
        check_tuning(vlm, task, **given)
        found = read_estimate(options, spec, task, given, bills=vlm.bills)
        return highest_cost(vlm, task, given, found, kept).total

    if limits_of(options).exceeded_by(needed := most.total.scaled(left)):
        # A journal belongs to its budget.
        fits = 0 if answered else _largest_budget(options, cost_at, arguments["budget"])
        mend = f"lower --budget to {fits:,}" if fits else "lower --shots"
        check_limits(options, needed, mend)
    if options.dry_run:
        _check_start(vlm, task, arguments)
        return 0
    with continuing(path, console) as journal, query_progress() as progress:
        reading = ReadingBar(progress)
        behind = recorded(vlm, options.method, journal, options.in_flight)
        bar = SearchBar(progress, task.name, most.queries, journal, behind)
        # If the method searches nothing, the estimate reuses the answers of tuning.
        asked = RememberingVLM(behind) if estimate.kind == "shots" else behind
        tuned = tune(asked, task, callbacks=[bar], progress=reading, **arguments)
        if estimate.kind == "refine":
            asked = RememberingVLM(behind)
        adapter, figures, found = estimated(tuned, asked, task, estimate, arguments, reading)
        if kept:
            adapter.canaries = _asked_canaries(adapter, behind, kept, figures)
        made = cost_of(tuned, adapter, behind, estimate)
        if price is not None and adapter.tuned is not None:
            adapter.tuned = replace(adapter.tuned, cost=price.cost(made.total))
        adapter.save(options.out)
        journal.remove()
    say(
        console,
        *_prompt_in_words(adapter),
        *_prior_in_words(arguments["config"], task),
        *_local_accuracy(adapter),
        *figures,
    )
    say_refused(vlm.refused, console)
    size = f"{options.out.stat().st_size / 1024:.0f} KB"
    if console.is_terminal:
        console.print(_panel(options, f"{options.out}, {size}", made.in_words(price), found))
        return 0
    say(
        console,
        f"Saved {options.out} ({size}) after {made.in_words(price)}. "
        f"Use it: {_command('predict', options, 'IMAGES…')}",
    )
    return 0


def _largest_budget(
    options: argparse.Namespace, cost_at: Callable[[int], Usage], budget: int
) -> int:
    """The largest budget below ``budget`` whose cost is within the limits, or 0.

    Args:
        options: parsed arguments.
        cost_at: what the command may request at most with a budget; raises CraftZooError or
            OptimizerError if it is too small for the method.
        budget: in queries.
    """
    limits, too_small = limits_of(options), set[int]()

    def exceeds(fewer: int) -> bool:
        try:
            return limits.exceeded_by(cost_at(fewer)) is not None
        except (CraftZooError, OptimizerError):
            too_small.add(fewer)
            return False

    fits = bisect_left(range(1, budget), True, key=exceeds)
    return 0 if fits in too_small else fits


def _arguments(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The arguments of :func:`craft_zoo.tune`, checked before data and model are opened.

    What of them has no effect is said.
    """
    config = read_config(options)
    check_in_flight(options)
    arguments: dict[str, Any] = {
        "method": options.method,
        "optimizer": options.optimizer,
        "budget": options.budget,
        "seed": options.seed,
        "config": config,
    }
    check_settings(**arguments)
    for setting in read_assignments(options):
        if options.method not in readers_of(setting, config):
            with_it = f" with refiner={config.refiner}" * (options.method in readers_of(setting))
            say(
                console,
                f"{options.method}{with_it} does not read the setting {setting}: see --help",
            )
    if options.optimizer is not None and not find_method(options.method).uses_optimizer:
        say(console, f"{options.method} uses no optimizer: --optimizer has no effect")
    return arguments


def _check_start(vlm: VLM, task: Task, arguments: dict[str, Any]) -> None:
    """Check that the run would begin; the model is opened on the class names and not queried.

    Raises:
        CraftZooError: it would not, as a setting, the budget or a class name does not suit.
    """
    check_start(
        arguments["method"],
        arguments["optimizer"] or find_method(arguments["method"]).default_optimizer,
        arguments["config"],
        budget=arguments["budget"],
        classnames=task.classnames,
        name=task.name,
        accepts=vlm.classifier(task.classnames).accepts,
    )


def _remarks(
    options: argparse.Namespace, arguments: dict[str, Any], task: Task, vlm: VLM, most: Cost
) -> list[str]:
    """Lines with the cost of anchors in a deployed image, and with a budget that was not given."""
    lines = []
    method, budget = find_method(options.method), arguments["budget"]
    n_classes = len(task.classnames)
    about = arguments["config"], budget, n_classes
    if anchors := method.anchors(*about):
        if vlm.bills:  # prompts, whatever the number of texts that each is asked with
            cost = f"is billed as {1 + method.anchor_prompts(*about):,} predictions"
        else:
            cost = f"costs as much as {1 + anchors / n_classes:,.4g} without"
        lines.append(f"With {counted(anchors, 'anchor')}, a deployed image {cost}")
    bills = "the model" * vlm.bills or "a language model" * (method.pays is not None)
    if bills and options.budget is None and most.queries == budget:
        lines.append(f"The budget is {budget} queries, as {bills} bills: see --budget")
    return lines


def _panel(options: argparse.Namespace, title: str, cost: str, found: Evaluation | None) -> Panel:
    """Accuracies, costs and the next commands, for a terminal."""
    rows = Table.grid(padding=(0, 2))
    if found is not None:
        low, high = found.interval
        rows.add_row(
            "accuracy",
            Text(
                f"zero-shot {100 * found.zero_shot_accuracy:.1f} % → adapted "
                f"{100 * found.accuracy:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"
            ),
        )
    rows.add_row("cost", Text(cost))
    dataset = shlex.quote(options.dataset)
    rows.add_row("measure", Text(_command("evaluate", options, dataset)))
    rows.add_row("use", Text(_command("predict", options, "IMAGES…")))
    return Panel(rows, title=Text(printable(title)), title_align="left", expand=False)


def _command(name: str, options: argparse.Namespace, images: str) -> str:
    """A command that uses the adapter. It must name the address of a model behind a network."""
    model = f" --model {shlex.quote(options.model)}" if is_address(options.model) else ""
    return f"craft-zoo {name} {shlex.quote(str(options.out))} {images}{model}"


def _answered(journal: Path) -> int:
    """Number of predictions in the journal of an interrupted run, which are not repeated.

    Raises:
        CraftZooError: the journal cannot be read, or another process is using it.
    """
    if not journal.exists():
        return 0
    with Journal(journal) as begun:
        return begun.answered


def _asked_canaries(
    adapter: Adapter, vlm: VLM, images: Sequence[np.ndarray], figures: list[str]
) -> canaries.Canaries | None:
    """The model's answers about canaries; None and a line about it if it does not answer."""
    try:
        kept = canaries.ask_canaries(adapter, vlm, images)
        figures.append(
            f"The file holds small copies of {counted(len(kept), 'training image')}, for craft-zoo "
            f"check (--no-canaries keeps none)"
        )
        return kept
    except CraftZooError as error:  # for instance at a cost limit; the adapter is saved anyway
        figures.append(f"No canaries are kept ({error})")
        return None


def _prior_in_words(config: CraftConfig, task: Task) -> list[str]:
    """A line with the classes' prior; none if it is uniform and so are the shots."""
    shots = np.bincount(task.train.labels)
    if config.prior == UNIFORM and shots.min() == shots.max():
        return []
    assumed = {
        UNIFORM: f"equally likely, though they have {shots.min()} to {shots.max()} shots",
        TRAIN: "as frequent as among the shots",
    }
    return [f"Classes are taken to be {assumed.get(config.prior, 'as frequent as --prior says')}"]


def _local_accuracy(adapter: Adapter) -> list[str]:
    """A line with the held-out accuracy of local features, alone and with the model's answers."""
    local = adapter.solution.local
    if local is None or local.held_out is None:
        return []
    alone, together = (f"{100 * share:.1f} %" for share in local.held_out)
    return [
        f"Training images while held out: {alone} correct by local features "
        f"({local.features}) alone, {together} with the model's answers to the initial prompt"
    ]


def _prompt_in_words(adapter: Adapter) -> list[str]:
    """Lines with the prompt; none for a context."""
    prompt = adapter.solution.prompt
    if isinstance(prompt, str):
        return [f'The prompt, in words: "{prompt}"']
    if isinstance(prompt, tuple):
        names = adapter.classnames
        prompts = [
            f"  {fill(template, name)}" for template, name in zip(prompt, names, strict=True)
        ]
        return ["The prompts, in words:", *prompts]
    return []
