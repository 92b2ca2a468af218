"""The grid: every run that a bench asks for, each a pure description with a stable identity."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import islice, product
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter

from craft_zoo import optimizers
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, OpenedDatasets, fingerprint
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import (
    get_method,
    optimizers_for,
    settings_of,
    trial_space,
    uses_optimizer,
)
from craft_zoo.records import check

NO_OPTIMIZER = "none"
# How a grid's data sets are opened and drawn from: these fields of a DatasetSpec.
OPENING = ("root", "download", "skip_bad", "sampling", "fewer")
MOST_RUNS = 20_000  # of a grid: what more of them take in memory and time was hardly meant

MOST_SHOTS, LARGEST_SEED, LARGEST_BUDGET = 10**6, 2**63 - 1, 10**12
Shots = Annotated[int, Field(le=MOST_SHOTS)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Budget = Annotated[int, Field(le=LARGEST_BUDGET)]


@dataclass(frozen=True)
class RunSpec:
    """One run: all that determines its result.

    Attributes:
        model: see :attr:`craft_zoo.blackbox.VLM.name`.
        dataset: the data set, and how the shots are drawn.
        method: name of a method.
        optimizer: spec of an optimizer, or ``none`` for a method without one.
        shots: training images a class.
        seed: seed of the shots and of all else that is random.
        budget: queries that may be made.
        config: settings of the method.
        data: fingerprint of the data set's content, see :func:`craft_zoo.data.fingerprint`; ""
            where it was not opened.
        measured_on: ``test``, or ``val``: the validation images, for choices.
        transfer: names of data sets that the solution is tried on at the end, opened as
            ``dataset`` is.
    """

    model: str
    dataset: DatasetSpec
    method: str
    optimizer: str
    shots: Shots
    seed: Seed
    budget: Budget
    config: CraftConfig = field(default_factory=CraftConfig)
    data: str = ""
    measured_on: str = "test"
    transfer: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Readable name that ends in a hash of all that determines the result, and of no more.

        A data set counts by its name and by what it holds, wherever it lies; a setting, where the
        method looks at it.
        """
        described = self.to_json() | {
            "dataset": short_name(self.dataset.name),
            "config": settings_of(self.method, self.config),
        }
        del described["classnames"]  # they are part of the data
        source = described.pop("source")
        # What came later counts where it is not as it was before.
        later = {"sampling": source["sampling"], "fewer": source["fewer"]}
        later |= {name: described.pop(name) for name in ("measured_on", "transfer")}
        before = {"sampling": "uniform", "fewer": "error", "measured_on": "test", "transfer": ()}
        described |= {name: value for name, value in later.items() if value != before[name]}
        text = json.dumps(described, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        words = (short_name(self.dataset.name), self.method, self.optimizer)
        return f"{slug('-'.join(words))[:60]}-{self.shots}shots-seed{self.seed}-{digest}"

    @property
    def label(self) -> str:
        """What the run's line is called on plots and in tables: method and optimizer."""
        return (
            self.method if self.optimizer == NO_OPTIMIZER else f"{self.method} ({self.optimizer})"
        )

    def to_json(self) -> dict[str, Any]:
        """The description as plain values."""
        spec, values = self.dataset, asdict(self)
        source = {name: getattr(spec, name) for name in OPENING}
        return values | {"dataset": spec.name, "classnames": spec.classnames, "source": source}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RunSpec:
        """What :meth:`to_json` has described.

        Raises:
            TypeError, KeyError, ValueError: it describes no run.
        """
        read = {**values, "config": CraftConfig(**values["config"])}
        source = read.pop("source", {})
        read["dataset"] = DatasetSpec(values["dataset"], read.pop("classnames"), **source)
        read["transfer"] = tuple(values.get("transfer", ()))
        run = cls(**read)
        check(_described(), asdict(run))
        return run


@cache
def _described() -> TypeAdapter[RunSpec]:
    return TypeAdapter(RunSpec)


class Variant(NamedTuple):
    """What is run on a task."""

    method: str
    optimizer: str = NO_OPTIMIZER
    config: CraftConfig = CraftConfig()


def combine(
    methods: Sequence[str], optimizer_specs: Sequence[str], config: CraftConfig
) -> list[Variant]:
    """Methods x optimizers; methods without an optimizer once.

    A method is combined with those that can search what it searches, or, if there are none, with
    its default.

    Raises:
        CraftZooError: an unknown method.
        OptimizerError: an unknown optimizer or option.
    """
    made: dict[Variant, None] = {}
    for method in dict.fromkeys(methods):
        for spec in (
            optimizers_for(method, optimizer_specs) if uses_optimizer(method) else [NO_OPTIMIZER]
        ):
            made[Variant(method, spec, config)] = None
    return list(made)


def cross(
    model: str,
    datasets: Sequence[DatasetSpec],
    variants: Sequence[Variant],
    *,
    shots: Sequence[int],
    seeds: Sequence[int],
    budgets: Sequence[int] | Mapping[int, int],
    measured_on: str = "test",
    transfer: Sequence[str] = (),
    opened: OpenedDatasets | None = None,
    look: bool = True,
) -> list[RunSpec]:
    """All runs of a grid, in order of data set, shots, seed, budget, variant.

    Everything that can be checked without a model is checked here, before the first run starts.

    Args:
        model: see :class:`RunSpec`.
        datasets: what is adapted to.
        variants: what is run on each task.
        shots: training images a class.
        seeds: of the shots and of all else that is random.
        budgets: queries; or, by shots, how many.
        measured_on: see :class:`RunSpec`.
        transfer: see :class:`RunSpec`.
        opened: data sets opened before; those that are opened here are added.
        look: open the data sets. Without, the runs have no identity that a store would know.

    Raises:
        CraftZooError: a data set that cannot be opened, an unknown method, a value out of range.
        OptimizerError: an unknown optimizer or a wrong option.
    """
    opened = opened or OpenedDatasets()
    by_shots = _by_shots(budgets, shots)
    seeds = list(islice(seeds, MOST_RUNS + 1))  # of a range that may have no end
    pairs = sum(len(by_shots[n]) for n in shots)  # of shots and budget
    check_count(len(datasets) * pairs * len(seeds) * len(variants))
    every = sorted({budget for some in by_shots.values() for budget in some})
    for budget in every:
        if budget < 1:
            raise CraftZooError(
                f"the budget must be at least 1 query, not {budget}: raise budget (--budget)"
            )
    for variant in variants:
        get_method(variant.method)
    _check_optimizers(variants, every)
    runs: dict[RunSpec, None] = {}
    for dataset in dict.fromkeys(datasets):
        data = fingerprint(opened.open(dataset)) if look else ""
        for n_shots, seed in product(shots, seeds):
            for budget, (method, spec, config) in product(by_shots[n_shots], variants):
                run = RunSpec(
                    *(model, dataset, method, spec, n_shots, seed, budget, config),
                    data=data,
                    measured_on=measured_on,
                    transfer=tuple(transfer),
                )
                runs[run] = None
    return list(runs)


def check_count(runs: int) -> None:
    """Make sure that a grid is not larger than anybody can have meant.

    Raises:
        CraftZooError: it is.
    """
    if runs > MOST_RUNS:
        raise CraftZooError(
            f"the grid has {runs:,} runs or more, and {MOST_RUNS:,} are the most: split it up, or "
            f"ask for fewer seeds, shots, budgets, data sets or methods"
        )


def _by_shots(
    budgets: Sequence[int] | Mapping[int, int], shots: Sequence[int]
) -> dict[int, Sequence[int]]:
    """Budgets of each number of shots."""
    if not isinstance(budgets, Mapping):
        return dict.fromkeys(shots, budgets)
    lacking = [n for n in shots if n not in budgets]
    if lacking:
        raise CraftZooError(f"the budgets say nothing of {lacking[0]} shots: add a line for them")
    return {n: [budgets[n]] for n in shots}


def _check_optimizers(variants: Sequence[Variant], budgets: Sequence[int]) -> None:
    """Make each optimizer once, so that a wrong one is noticed before the first query.

    Raises:
        OptimizerError: an unknown optimizer, a wrong option, a budget below one generation, or an
            optimizer that cannot search what its method searches.
    """
    made = {
        (each.optimizer, trial_space(each.method, each.config)): None
        for each in variants
        if each.optimizer != NO_OPTIMIZER
    }
    for (spec, space), budget in product(made, budgets):
        optimizers.create(spec, space, budget=budget, seed=0)


def label_runs(
    runs: Iterable[RunSpec], names: Mapping[RunSpec, str] | None = None
) -> dict[RunSpec, str]:
    """What each run's line is called; runs that differ in more than task and seed, differently.

    Args:
        runs: of a grid, or of a whole store.
        names: of variants; "" or none: :attr:`RunSpec.label`.
    """
    plain = {run: (names or {}).get(run) or run.label for run in runs}
    several: dict[str, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for run, label in plain.items():
        for name, value in _details(run).items():
            several[label][name].add(value)
    labels = {}
    for run, label in plain.items():
        told = [
            _DETAILS.get(name, f"{name}={{}}").format(value)
            for name, value in _details(run).items()
            if len(several[label][name]) > 1 and value != getattr(_DEFAULT, name, None)
        ]
        labels[run] = ", ".join([label, *told])
    return labels


_DEFAULT = CraftConfig()
_DETAILS = {"budget": "{:,} queries", "model": "{}", "method": "{}", "optimizer": "{}"}


def _details(run: RunSpec) -> dict[str, Any]:
    """What may tell runs of one name apart."""
    about = {"model": run.model, "budget": run.budget}
    about |= {"method": run.method, "optimizer": run.optimizer}
    return about | settings_of(run.method, run.config)


def slug(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")


def short_name(dataset: str) -> str:
    """A data set's name for people: the last folder of a path."""
    return dataset.rstrip("/").rpartition("/")[2]
