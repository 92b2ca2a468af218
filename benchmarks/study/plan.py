"""What the study runs: every method on every task, and what each part of ours is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from craft_zoo.benchmarks.grid import NO_OPTIMIZER, RunSpec
from craft_zoo.craft import CraftConfig
from craft_zoo.methods import DEFAULT_OPTIMIZER, uses_optimizer

METHODS = (
    *("craft", "refine", "craft-anchors", "anchors"),
    *("craft-released", "bbt", "spsa-gc", "zip", "templates", "zero-shot"),
    *("coop", "coop-csc", "linear-probe"),
)
SLOW_METHOD = "blackvip"  # reads all training images anew at each query
SHOTS = (1, 4, 16)
ABLATION_BUDGET = 2000

ABLATIONS: Mapping[str, tuple[str, str, CraftConfig]] = {
    "craft": ("craft", DEFAULT_OPTIMIZER, CraftConfig()),
    "without a refiner": ("prompt", DEFAULT_OPTIMIZER, CraftConfig()),
    "unified context": ("craft", DEFAULT_OPTIMIZER, CraftConfig(context="unified")),
    "refiner solved once": ("craft", DEFAULT_OPTIMIZER, CraftConfig(refit_queries=ABLATION_BUDGET)),
    "no shots held out": ("craft", DEFAULT_OPTIMIZER, CraftConfig(patience=0)),
    "256 dimensions": ("craft", DEFAULT_OPTIMIZER, CraftConfig(intrinsic_dim=256)),
    "cma for logit-gn": ("craft", "cma", CraftConfig()),
    "spsa-gc for logit-gn": ("craft", "spsa-gc", CraftConfig()),
    "zip for logit-gn": ("craft", "zip", CraftConfig()),
    "cma, network refiner": ("craft", "cma", CraftConfig(refiner="network")),
    "anchors: 16": ("anchors", NO_OPTIMIZER, CraftConfig(anchors=16)),
    "anchors: 64": ("anchors", NO_OPTIMIZER, CraftConfig(anchors=64)),
    "anchors: 256": ("anchors", NO_OPTIMIZER, CraftConfig()),
    "anchors: 1,000": ("anchors", NO_OPTIMIZER, CraftConfig(anchors=1000)),
    "anchors: by spread": ("anchors", NO_OPTIMIZER, CraftConfig(anchor_bank="spread")),
    "anchors: by information": ("anchors", NO_OPTIMIZER, CraftConfig(anchor_bank="information")),
    "anchors: contexts": ("anchors", NO_OPTIMIZER, CraftConfig(anchor_bank="contexts")),
}
"""Name → method, optimizer and settings."""


@dataclass(frozen=True)
class StudyTask:
    """A data set of the study.

    Attributes:
        dataset: as given to :func:`craft_zoo.data.load_dataset`.
        classnames: file with class names, or None.
    """

    dataset: str
    classnames: str | None = None


def main_grid(
    model: str,
    tasks: Sequence[StudyTask],
    *,
    methods: Sequence[str] = METHODS,
    shots: Sequence[int] = SHOTS,
    seeds: Sequence[int],
    budget: int,
) -> list[RunSpec]:
    """Every method on every task, the many shots first."""
    return [
        RunSpec(
            model,
            task.dataset,
            task.classnames,
            method,
            DEFAULT_OPTIMIZER if uses_optimizer(method) else NO_OPTIMIZER,
            n_shots,
            seed,
            budget,
        )
        for n_shots in sorted(shots, reverse=True)
        for task in tasks
        for method in methods
        for seed in seeds
    ]


def ablation_grid(
    model: str, tasks: Sequence[StudyTask], *, shots: int, seeds: Sequence[int], budget: int
) -> dict[RunSpec, str]:
    """The ablations' runs, each with the name of its ablation."""
    return {
        RunSpec(
            model,
            task.dataset,
            task.classnames,
            method,
            optimizer,
            shots,
            seed,
            min(budget, ABLATION_BUDGET),
            config,
        ): name
        for task in tasks
        for name, (method, optimizer, config) in ABLATIONS.items()
        for seed in seeds
    }


def shortened(run: RunSpec, budget: int) -> RunSpec:
    """The run with a budget of no more than ``budget``."""
    return replace(run, budget=min(run.budget, budget))
