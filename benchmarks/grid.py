"""The grid: every run that a bench asks for, each a pure description with a stable identity."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from craft_zoo import optimizers
from craft_zoo.craft import CraftConfig
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import uses_optimizer

NO_OPTIMIZER = "none"


@dataclass(frozen=True)
class RunSpec:
    """One run: all that determines its result.

    Attributes:
        model: see :attr:`craft_zoo.blackbox.VLM.name`.
        dataset: as given to :func:`craft_zoo.data.load_dataset`.
        classnames: file with class names, or None.
        method: name of a method.
        optimizer: spec of an optimizer, or ``none`` for a method without one.
        shots: training images a class.
        seed: seed of the shots and of all else that is random.
        budget: queries that may be made.
        config: settings of the method.
    """

    model: str
    dataset: str
    classnames: str | None
    method: str
    optimizer: str
    shots: int
    seed: int
    budget: int
    config: CraftConfig = field(default_factory=CraftConfig)

    @property
    def identity(self) -> str:
        """Readable name that ends in a hash of the whole description."""
        text = json.dumps(self.to_json(), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        words = (short_name(self.dataset), self.method, self.optimizer)
        return f"{slug('-'.join(words))[:60]}-{self.shots}shots-seed{self.seed}-{digest}"

    @property
    def label(self) -> str:
        """What the run's line is called on plots and in tables: method and optimizer."""
        return (
            self.method if self.optimizer == NO_OPTIMIZER else f"{self.method} ({self.optimizer})"
        )

    def to_json(self) -> dict[str, Any]:
        """The description as plain values."""
        return asdict(self)


def expand(
    *,
    model: str,
    datasets: list[str],
    methods: list[str],
    optimizer_specs: list[str],
    shots: list[int],
    seeds: list[int],
    budget: int,
    config: CraftConfig,
    classnames: str | None = None,
) -> list[RunSpec]:
    """All runs of the grid, in order of data set, shots, seed, method, optimizer.

    Methods without an optimizer appear once. Everything that can be checked without a model is
    checked here, before the first run starts.

    Raises:
        CraftZooError: an unknown method, a value out of range.
        OptimizerError: an unknown optimizer or a wrong option.
    """
    if budget < 1:
        raise CraftZooError(f"the budget must be at least 1 query, not {budget}: raise --budget")
    runs: dict[RunSpec, None] = {}
    for dataset, n_shots, seed, method in product(datasets, shots, seeds, methods):
        specs = optimizer_specs if uses_optimizer(method) else [NO_OPTIMIZER]
        for spec in specs:
            run = RunSpec(model, dataset, classnames, method, spec, n_shots, seed, budget, config)
            runs[run] = None
    check_optimizers(list(runs))
    return list(runs)


def check_optimizers(runs: Sequence[RunSpec]) -> None:
    """Make each run's optimizer once, so that a wrong one is noticed before the first query.

    Raises:
        OptimizerError: an unknown optimizer, a wrong option, a budget below one generation.
    """
    made = {(run.optimizer, run.config.intrinsic_dim, run.budget) for run in runs}
    for spec, dim, budget in sorted(made):
        if spec != NO_OPTIMIZER:
            optimizers.create(spec, dim, budget=budget, seed=0)


def slug(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")


def short_name(dataset: str) -> str:
    """A data set's name for people: the last folder of a path."""
    return dataset.rstrip("/").rpartition("/")[2]
