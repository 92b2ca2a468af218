"""Ask the model of an adapter again what it was asked when the adapter was tuned.

The exit code is 0 if the answers are the same and 1 if they are not.
"""

from __future__ import annotations

import argparse
import shlex

from craft_zoo.adapter import Adapter, OtherModelError
from craft_zoo.canaries import TOLERANCE, Drift, check_drift
from craft_zoo.cli.arguments import (
    add_adapter_argument,
    add_model_arguments,
    group_of,
    load_adapter,
    open_adapters_model,
)
from craft_zoo.cli.money import check_limits, in_money
from craft_zoo.console import open_console, say
from craft_zoo.counts import counted
from craft_zoo.errors import CraftZooError
from craft_zoo.evaluation import deployed_usage
from craft_zoo.hub import SCHEME

SAME, CHANGED = 0, 1
_TOLERANCES = {"fp32": TOLERANCE, "fp16": 0.1, "bf16": 1.0}  # by --precision


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_adapter_argument(parser)
    group_of(parser, "output").add_argument(
        "--tolerance",
        type=float,
        metavar="T",
        help="difference of log-probabilities that counts as the same answer (default: "
        f"{TOLERANCE}; with --precision fp16 {_TOLERANCES['fp16']:g}, with bf16 "
        f"{_TOLERANCES['bf16']:g})",
    )
    add_model_arguments(parser, default=None)
    group_of(parser, "money").add_argument(
        "--dry-run", action="store_true", help="print the cost; send no query"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        The exit code: 1 if the model has changed.
    """
    console = open_console()
    tolerance = options.tolerance
    if tolerance is None:
        tolerance = _TOLERANCES[options.precision]
    if not tolerance >= 0:
        raise CraftZooError(f"--tolerance must be at least 0, not {tolerance:g}")
    named = options.adapter
    adapter = load_adapter(options)
    canaries = adapter.canaries
    if canaries is None:
        raise CraftZooError(
            f"{options.adapter} has no canaries, as adapters made by earlier versions or with "
            f"--no-canaries: tune again to keep some"
        )
    vlm = open_adapters_model(options, adapter)
    try:
        usage = deployed_usage(adapter, vlm, list(canaries.images))
        check_limits(options, usage, "do not check")
        images = counted(len(canaries), "image")
        say(console, f"Asking about {images}: {in_money(options, adapter.model, usage)}")
        if options.dry_run:
            return SAME
        found = check_drift(adapter, vlm, tolerance)
    except OtherModelError as error:
        lines = [f"Changed, and nothing was asked: {error}"]
        changed = True
    else:
        changed = found.changed
        lines = [
            _noise(found),
            f"Predicted classes that changed: {found.relabelled} of {len(canaries)}",
            "Changed: the model does not answer as when the adapter was tuned"
            if changed
            else "The same: the model answers as when the adapter was tuned",
        ]
    if changed:
        lines.append(_plan(options, adapter, named))
    say(console, *lines)
    return CHANGED if changed else SAME


def _noise(found: Drift) -> str:
    """A sentence that compares the differences with those of an unchanged model."""
    if found.noise is None or found.distance is None:
        return (
            f"Log-probabilities differ by at most {found.differences.max():.2g}, in the mean by "
            f"{found.differences.mean():.2g} (tolerance {found.tolerance:.2g})"
        )
    return (
        f"Answers are {100 * found.distance:.1f} points from those then, which were "
        f"{100 * found.noise:.1f} points from each other, as the model's answers are noisy"
    )


def _plan(options: argparse.Namespace, adapter: Adapter, named: str) -> str:
    """A sentence about tuning again at little cost; ``named`` is the adapter as it was given."""
    tuned = adapter.tuned
    cost = before = ""
    if tuned is not None:
        cost = f" ({counted(tuned.images, 'prediction')})"
        before = f"; {tuned.method} took {counted(tuned.queries, 'query')}"
    model = options.model or adapter.model
    out = "NEW.adapter" if named.startswith(SCHEME) else f"{shlex.quote(named)} --force"
    command = f"craft-zoo tune DATASET --model {shlex.quote(model)} --method refine --out {out}"
    return (
        f"Tune again with 1 query{cost}: {command} fits the refiner to the model as it is now"
        f"{before}"
    )
