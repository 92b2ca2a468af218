"""Grids of runs: descriptions of runs with stable identities, and their enumeration."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import islice, product
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, TypeAdapter

from craft_zoo import optimizers
from craft_zoo.counts import counted, with_plain_numbers
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, OpenedDatasets, fingerprint
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import (
    EARLIER_SETTINGS,
    earlier_own_settings,
    find_method,
    get_method,
    most_llm_usage,
    optimizers_for,
    own_options,
    own_settings,
    settings_of,
    trial_space,
    values_of,
    without_defaults,
)
from craft_zoo.records import check

NO_OPTIMIZER = "none"
# Fields of a DatasetSpec with the settings for opening and drawing.
OPENING = ("root", "download", "skip_bad", "sampling", "fewer")
MOST_RUNS = 20_000  # of a grid; larger ones are assumed to be mistakes

Shots = Annotated[int, Field(le=10**6)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Budget = Annotated[int, Field(le=10**12)]


@dataclass(frozen=True)
class RunSpec:
    """Description of a run, with all that determines its result.

    Attributes:
        model: see :attr:`craft_zoo.blackbox.VLM.name`.
        dataset: the data set, and how the shots are drawn.
        method: name of a method.
        optimizer: spec of an optimizer, or ``none`` for a method without one.
        shots: training images per class.
        seed: seed of the shots and of all other random draws.
        budget: maximum number of queries.
        config: settings of the method.
        data: fingerprint of the data set's content, see :func:`craft_zoo.data.fingerprint`; "" if
            it was not opened.
        measured_on: ``test``, or ``val`` for the validation images, to choose settings.
        transfer: names of data sets on which the final solution is also evaluated, opened with the
            settings of ``dataset``.
        answer_options: see :attr:`craft_zoo.blackbox.VLM.answer_options`.
        precision: see :attr:`craft_zoo.blackbox.VLM.precision`.
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
    answer_options: str = ""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        with_plain_numbers(self)

    @property
    def identity(self) -> str:
        """Readable name that ends in a hash of exactly what determines the result.

        The hash includes the data set's name and content, but not its location, and only those
        settings that the method reads.
        """
        described = self.to_json() | {
            "dataset": short_name(self.dataset.name),
            "config": settings_of(self.method, self.config),
        }
        del described["classnames"]  # they are part of the data
        source = described.pop("source")
        # Fields of later versions are hashed only if they differ from the earlier behaviour.
        later = {"sampling": source["sampling"], "fewer": source["fewer"]}
        if later == {"sampling": "coop", "fewer": "all"}:
            later["fewer"] = "all, without a draw"  # earlier, draws were made for small classes
        before = {"measured_on": "test", "transfer": (), "answer_options": "", "precision": "fp32"}
        later |= {name: described.pop(name) for name in before}
        before |= {"sampling": "uniform", "fewer": "error"}
        described |= {name: value for name, value in later.items() if value != before[name]}
        former = _renamed(self.method, _FORMER), _renamed(self.optimizer, _FORMER)
        described["method"], described["optimizer"] = former
        text = json.dumps(described, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        words = (short_name(self.dataset.name), *former)
        return f"{slug('-'.join(words))[:60]}-{self.shots}shots-seed{self.seed}-{digest}"

    @property
    def label(self) -> str:
        """Label of the run's curve on plots and in tables: method and optimizer."""
        return (
            self.method if self.optimizer == NO_OPTIMIZER else f"{self.method} ({self.optimizer})"
        )

    def to_json(self) -> dict[str, Any]:
        """The description as JSON values."""
        spec, values = self.dataset, asdict(self)
        source = {name: getattr(spec, name) for name in OPENING}
        # Written in full: a later version may have other defaults.
        own = dict(values["config"].pop("own")) | own_settings(self.method, self.config)
        values["config"] |= {"own": own} if own else {}
        return values | {"dataset": spec.name, "classnames": spec.classnames, "source": source}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RunSpec:
        """The run from the values of :meth:`to_json`.

        Raises:
            TypeError, KeyError, ValueError: the values do not describe a run.
        """
        config = {**EARLIER_SETTINGS, **values["config"]}
        stated, method = dict(config.pop("own", {})), values["method"]
        # Runs of present versions state the settings that their method declares.
        if not any(key.startswith(f"{method}.") for key in stated):
            method = _renamed(method, _PRESENT)
        own = earlier_own_settings(method) | stated
        read = {**values, "config": CraftConfig(**config, own=without_defaults(own))}
        read["method"], read["optimizer"] = method, _renamed(values["optimizer"], _PRESENT)
        source = read.pop("source", {})
        read["dataset"] = DatasetSpec(values["dataset"], read.pop("classnames"), **source)
        read["transfer"] = tuple(values.get("transfer", ()))
        run = cls(**read)
        check(_type_adapter(), asdict(run))
        return run


# Names of methods and optimizers → what they were called when runs were stored, whose identities
# have these names.
_FORMER = {"spsa-clip": "zip", "visual-prompt": "blackvip"}
_PRESENT = {before: now for now, before in _FORMER.items()}


def _renamed(spec: str, names: Mapping[str, str]) -> str:
    """The name of a method, or the spec of an optimizer, with another name."""
    name, colon, options = spec.partition(":")
    return names.get(name, name) + colon + options


@cache
def _type_adapter() -> TypeAdapter[RunSpec]:
    return TypeAdapter(RunSpec)


class Variant(NamedTuple):
    """A method with optimizer and settings, to be run on tasks."""

    method: str
    optimizer: str = NO_OPTIMIZER
    config: CraftConfig = CraftConfig()


def combine(
    methods: Sequence[str], optimizer_specs: Sequence[str], config: CraftConfig
) -> list[Variant]:
    """Methods x optimizers; methods without an optimizer occur once.

    A method is combined with the optimizers that can search its space, or with its default if there
    are none.

    Raises:
        CraftZooError: an unknown method.
        OptimizerError: an unknown optimizer or option.
    """
    made: dict[Variant, None] = {}
    for method in dict.fromkeys(methods):
        searches = find_method(method).uses_optimizer
        for spec in optimizers_for(method, optimizer_specs) if searches else [NO_OPTIMIZER]:
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
    """All runs of a grid, ordered by data set, shots, seed, budget and variant.

    Checks everything that can be checked without a model, before the first run starts.

    Args:
        model: see :class:`RunSpec`.
        datasets: the data sets.
        variants: the variants to run on each task.
        shots: training images per class.
        seeds: seeds of the shots and of all other random draws.
        budgets: numbers of queries; or shots → number of queries.
        measured_on, transfer: see :class:`RunSpec`.
        opened: data sets opened before; those that are opened here are added.
        look: open the data sets; otherwise the identities of the runs differ from those in stores.

    Raises:
        CraftZooError: a data set cannot be opened, a method is unknown, or a value out of range.
        OptimizerError: an unknown optimizer or a wrong option.
    """
    opened = opened or OpenedDatasets()
    by_shots = _by_shots(budgets, shots)
    seeds = list(islice(seeds, MOST_RUNS + 1))  # the range may be huge
    pairs = sum(len(by_shots[n]) for n in shots)  # (shots, budget)
    check_count(len(datasets) * pairs * len(seeds) * len(variants))
    every = sorted({budget for some in by_shots.values() for budget in some})
    for budget in every:
        if budget < 1:
            raise CraftZooError(
                f"the budget must be at least 1 query, not {budget}: raise budget (--budget)"
            )
    for variant in variants:
        get_method(variant.method)
        most_llm_usage(variant.method, variant.config, 1, ())  # checks that one can be asked
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
    """Check that a grid has at most :data:`MOST_RUNS` runs.

    Raises:
        CraftZooError: it has more.
    """
    if runs > MOST_RUNS:
        raise CraftZooError(
            f"the grid has {runs:,} runs or more, at most {MOST_RUNS:,} are allowed: split it up, "
            f"or ask for fewer seeds, shots, budgets, data sets or methods"
        )


def _by_shots(
    budgets: Sequence[int] | Mapping[int, int], shots: Sequence[int]
) -> dict[int, Sequence[int]]:
    """Number of shots → its budgets."""
    if not isinstance(budgets, Mapping):
        return dict.fromkeys(shots, budgets)
    lacking = [n for n in shots if n not in budgets]
    if lacking:
        raise CraftZooError(f"the budgets lack an entry for {counted(lacking[0], 'shot')}: add one")
    return {n: [budgets[n]] for n in shots}


def _check_optimizers(variants: Sequence[Variant], budgets: Sequence[int]) -> None:
    """Create each optimizer once, so that invalid ones are reported before the first query.

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
    """Labels of the runs' curves; runs that differ in more than task and seed get distinct labels.

    Budgets are in the labels only where runs of one task differ in them.

    Args:
        runs: runs of a grid or a store.
        names: names of the runs' variants; :attr:`RunSpec.label` is used for "" or a missing name.
    """
    plain = {run: (names or {}).get(run) or run.label for run in runs}
    several: dict[str, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    budgets: dict[Any, set[int]] = defaultdict(set)
    for run, label in plain.items():
        for name, value in _details(run).items():
            several[label][name].add(value)
        budgets[label, run.dataset, run.shots].add(run.budget)
    # Papers give each number of shots a budget of its own, which makes no other method.
    vary = {label for (label, *_), found in budgets.items() if len(found) > 1}
    for label in several.keys() - vary:
        del several[label]["budget"]
    labels = {}
    for run, label in plain.items():
        details = [
            _detail(run, name, value)
            for name, value in _details(run).items()
            if len(several[label][name]) > 1 and value != _default(name)
        ]
        labels[run] = ", ".join([label, *details])
    return labels


def _detail(run: RunSpec, name: str, value: Any) -> str:
    if name == "budget":
        return counted(value, "query")
    return _DETAILS.get(name, f"{name.removeprefix(f'{run.method}.')}={{}}").format(value)


_DEFAULT = CraftConfig()
_DETAILS = {"model": "{}", "method": "{}", "optimizer": "{}"}
_DETAILS |= {"per_image": "at most {:g} an image", "local": "with {}", "answer_options": "{}"}
_DETAILS |= {"precision": "{}"}


def _default(name: str) -> Any:
    option = own_options().get(name)
    return getattr(_DEFAULT, name, None) if option is None else option.default


def _details(run: RunSpec) -> dict[str, Any]:
    """Values in which runs of one label may differ."""
    about = {"model": run.model, "budget": run.budget}
    about |= {"method": run.method, "optimizer": run.optimizer}
    about |= {"answer_options": run.answer_options or None}
    about |= {"precision": None if run.precision == "fp32" else run.precision}
    return about | values_of(run.method, run.config)


def slug(text: str) -> str:
    """The text with all characters replaced that do not suit file names."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")


def short_name(dataset: str) -> str:
    """Name of a data set wherever it lies: the last part of its path, without ``folder:``."""
    path = dataset.partition(":")[2] or dataset
    return path.rstrip("/").rpartition("/")[2]
