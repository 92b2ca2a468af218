"""Shell commands that repeat runs of a bench."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from craft_zoo.benchmarks.grid import NO_OPTIMIZER, RunSpec
from craft_zoo.blackbox import is_address
from craft_zoo.craft import CraftConfig
from craft_zoo.openclip import former_settings, with_activation

_REPEATABLE = ("--dataset", "--method", "--optimizer", "--shots", "--seed")


def command(run: RunSpec) -> str:
    """Shell command that repeats a run."""
    return shlex.join(["craft-zoo", "bench", *_words(_options(run))])


def command_with_seeds(
    runs: Sequence[RunSpec], seeds: int, folder: Path | None = None
) -> str | None:
    """Shell command that repeats runs with more seeds; None if no single command can.

    Args:
        runs: at least one run. They may differ in data set, method, optimizer, shots and seed.
        seeds: number of seeds.
        folder: the results folder of the runs, which are then not repeated; None: not known.
    """
    given = [_options(run) for run in runs]
    fixed = [[each for each in options if each[0] not in _REPEATABLE] for options in given]
    if any(options != fixed[0] for options in fixed):
        return None
    grid = dict.fromkeys(each for options in given for each in options if each[0] in _REPEATABLE)
    options = sorted(grid, key=lambda each: _REPEATABLE.index(each[0]))
    options = [each for each in options if each[0] != "--seed"]
    out = [("--out", str(folder))] if folder is not None else []
    words = _words([*options, *fixed[0], *out, ("--seeds", str(seeds))])
    return shlex.join(["craft-zoo", "bench", *words])


def _words(options: list[tuple[str, str]]) -> list[str]:
    return [word for option in options for word in option if word]


def _options(run: RunSpec) -> list[tuple[str, str]]:
    """Each option that differs from its default, with its value; "" for a switch."""
    model, pretrained = run.model, ""
    if not is_address(model):  # an address may have an @ too
        model, _, pretrained = run.model.partition("@")
    if before := former_settings(run.model):  # this name uses another activation by now
        model = with_activation(model, before[1].quick_gelu)
    spec, settings, defaults = run.dataset, asdict(run.config), asdict(CraftConfig())
    changed = {name: value for name, value in settings.items() if value != defaults[name]}
    own = dict(changed.pop("own", ()))
    arguments = [  # with the values at which they are left out
        ("--model", model, None),
        ("--pretrained", pretrained, ""),
        ("--precision", run.precision, "fp32"),
        ("--dataset", spec.name, None),
        ("--classnames", spec.classnames, None),
        ("--method", run.method, None),
        ("--optimizer", run.optimizer, NO_OPTIMIZER),
        ("--shots", run.shots, None),
        ("--seed", run.seed, None),
        ("--budget", run.budget, None),
        ("--data-root", spec.root, None),
        ("--sampling", spec.sampling, "uniform"),
        ("--fewer", spec.fewer, "error"),
        ("--measured-on", run.measured_on, "test"),
        *(("--transfer", name, None) for name in run.transfer),
        *(("--model-option", each, None) for each in _model_options(run)),
        *(("--set", f"{name}={value}", None) for name, value in (changed | own).items()),
    ]
    options = [("--skip-bad", "")] if spec.skip_bad else []
    return options + [
        (flag, str(value)) for flag, value, left_out in arguments if value != left_out
    ]


def _model_options(run: RunSpec) -> list[str]:
    """The options that change the model's answers; the file of descriptions is not known."""
    options = run.answer_options.split(",") if run.answer_options else []
    return ["descriptions=FILE" if each.startswith("descriptions=") else each for each in options]
