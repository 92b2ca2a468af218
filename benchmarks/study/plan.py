"""What the study runs: every method on every task, and what each part of ours is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from craft_zoo.benchmarks.grid import RunSpec, Variant, combine, cross
from craft_zoo.craft import CraftConfig
from craft_zoo.methods import DEFAULT_OPTIMIZER

METHODS = (
    *("craft", "refine", "craft-anchors", "anchors"),
    *("craft-released", "bbt", "spsa-gc", "zip", "templates", "zero-shot"),
    *("coop", "coop-csc", "linear-probe"),
)
SLOW_METHOD = "blackvip"  # reads all training images anew at each query
SHOTS = (1, 4, 16)
ABLATION_BUDGET = 2000

ABLATIONS: Mapping[str, Variant] = {
    "craft": Variant("craft", DEFAULT_OPTIMIZER),
    "without a refiner": Variant("prompt", DEFAULT_OPTIMIZER),
    "unified context": Variant("craft", DEFAULT_OPTIMIZER, CraftConfig(context="unified")),
    "refiner solved once": Variant(
        "craft", DEFAULT_OPTIMIZER, CraftConfig(refit_queries=ABLATION_BUDGET)
    ),
    "no shots held out": Variant("craft", DEFAULT_OPTIMIZER, CraftConfig(patience=0)),
    "256 dimensions": Variant("craft", DEFAULT_OPTIMIZER, CraftConfig(intrinsic_dim=256)),
    "cma for logit-gn": Variant("craft", "cma"),
    "spsa-gc for logit-gn": Variant("craft", "spsa-gc"),
    "zip for logit-gn": Variant("craft", "zip"),
    "cma, network refiner": Variant("craft", "cma", CraftConfig(refiner="network")),
    "anchors: 16": Variant("anchors", config=CraftConfig(anchors=16)),
    "anchors: 64": Variant("anchors", config=CraftConfig(anchors=64)),
    "anchors: 256": Variant("anchors"),
    "anchors: 1,000": Variant("anchors", config=CraftConfig(anchors=1000)),
    "anchors: by spread": Variant("anchors", config=CraftConfig(anchor_bank="spread")),
    "anchors: by information": Variant("anchors", config=CraftConfig(anchor_bank="information")),
    "anchors: contexts": Variant("anchors", config=CraftConfig(anchor_bank="contexts")),
}
"""Name → what is run."""


class StudyTask(NamedTuple):
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
    runs = cross(
        model,
        tasks,
        combine(methods, [DEFAULT_OPTIMIZER], CraftConfig()),
        shots=shots,
        seeds=seeds,
        budgets=[budget],
    )
    return sorted(runs, key=lambda run: -run.shots)


def ablation_grid(
    model: str, tasks: Sequence[StudyTask], *, shots: int, seeds: Sequence[int], budget: int
) -> dict[RunSpec, str]:
    """The ablations' runs, each with the name of its ablation."""
    budgets = [min(budget, ABLATION_BUDGET)]
    runs = cross(
        model, tasks, list(ABLATIONS.values()), shots=[shots], seeds=seeds, budgets=budgets
    )
    names = {variant: name for name, variant in ABLATIONS.items()}
    return {run: names[Variant(run.method, run.optimizer, run.config)] for run in runs}


def shortened(run: RunSpec, budget: int) -> RunSpec:
    """The run with a budget of no more than ``budget``."""
    return replace(run, budget=min(run.budget, budget))
