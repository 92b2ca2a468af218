"""Plan, a grid of runs described by plain values, such as a paper's experiments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator

from craft_zoo.benchmarks.grid import (
    MOST_RUNS,
    NO_OPTIMIZER,
    OPENING,
    Budget,
    RunSpec,
    Seed,
    Shots,
    Variant,
    check_count,
    combine,
    cross,
)
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, Fewer, OpenedDatasets, Sampling
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import (
    DEFAULT_OPTIMIZER,
    find_method,
    optimizers_for,
    read_settings,
    readers_of,
)
from craft_zoo.openclip import model_name
from craft_zoo.optimizers.plugins import did_you_mean
from craft_zoo.records import first_fault, place, short

DEFAULT_METHODS = ("zero-shot", "craft")
_Several = Field(max_length=1000)


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# A data set of a plan: the fields of a DatasetSpec that differ from the plan's settings.
_FIELDS: dict[str, Any] = {
    name: (kind, getattr(DatasetSpec, name, ...))
    for name, kind in get_type_hints(DatasetSpec).items()
    if name in ("name", "classnames", *OPENING)
}
if TYPE_CHECKING:
    DatasetEntry = _StrictModel
else:
    DatasetEntry = create_model("DatasetEntry", __base__=_StrictModel, **_FIELDS)


class VariantEntry(_StrictModel):
    """A named variant that is run in addition to methods x optimizers.

    Attributes:
        method: name of a method.
        optimizer: its spec; None: the plan's first suitable optimizer.
        settings: settings that differ from the plan's.
    """

    method: str = "craft"
    optimizer: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


class Plan(_StrictModel):
    """A grid: data sets x shots x seeds x budgets x (methods x optimizers, and variants).

    Attributes:
        model: argument of :func:`craft_zoo.load_vlm`.
        pretrained: argument of :func:`craft_zoo.load_vlm`.
        datasets: names, or fields of :class:`craft_zoo.data.DatasetSpec`.
        methods: names of methods.
        optimizers: specs of optimizers.
        shots: training images per class.
        seeds: number of seeds, starting at 1, or a list of seeds.
        budgets: numbers of queries.
        budgets_by_shots: shots → number of queries, instead of ``budgets``.
        per_image: limits on the predictions for a deployed image; each method with anchors is run
            with each of them. A single one serves the variants too. Empty: as in ``settings``.
        settings: settings of the methods that differ from the defaults.
        variants: name → variant.
        data_root: ``root`` of all data sets, relative to the plan's folder.
        download: for all data sets, see :class:`craft_zoo.data.DatasetSpec`.
        skip_bad: for all data sets.
        sampling: for all data sets.
        fewer: for all data sets.
        measured_on: ``test``, or ``val`` to choose settings.
        transfer: data sets on which each final solution is also evaluated.
        parts: name → the keys in which a part of the grid differs from this plan; the grid is the
            union of its parts.
    """

    model: str = "craft-mini"
    pretrained: str | None = None
    datasets: Annotated[tuple[DatasetEntry, ...], _Several] = (
        DatasetEntry.model_validate({"name": "digits"}),
    )
    methods: Annotated[tuple[str, ...], _Several] = DEFAULT_METHODS
    optimizers: Annotated[tuple[str, ...], _Several] = (DEFAULT_OPTIMIZER,)
    shots: Annotated[tuple[Shots, ...], _Several] = (16,)
    seeds: tuple[Seed, ...] = (1, 2, 3)
    budgets: Annotated[tuple[Budget, ...], _Several] = (8000,)
    budgets_by_shots: dict[Shots, Budget] = Field(default_factory=dict)
    per_image: Annotated[tuple[float, ...], _Several] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    variants: dict[str, VariantEntry] = Field(default_factory=dict)
    data_root: str | None = None
    download: bool = False
    skip_bad: bool = False
    sampling: Sampling = "uniform"
    fewer: Fewer = "error"
    measured_on: Literal["test", "val"] = "test"
    transfer: Annotated[tuple[str, ...], _Several] = ()
    parts: dict[str, dict[str, Any]] = Field(default_factory=dict)

    # Of two validators with mode="before", the one defined later runs first.
    @field_validator("datasets", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return tuple({"name": each} if isinstance(each, str) else each for each in value)

    @field_validator(
        *("datasets", "methods", "optimizers", "shots", "budgets", "per_image", "transfer"),
        mode="before",
    )
    @classmethod
    def _several(cls, value: Any) -> Any:
        """A single value stands for a list with one element."""
        return tuple(value) if isinstance(value, list | tuple) else (value,)

    @field_validator("budgets_by_shots", mode="before")
    @classmethod
    def _numbered(cls, value: Any) -> Any:
        """Convert keys to integers, as they are text in TOML."""
        if not isinstance(value, dict):
            return value
        return {int(k) if isinstance(k, str) and k.isdigit() else k: v for k, v in value.items()}

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            value = range(1, value + 1)
        if isinstance(value, list | range):
            value = tuple(islice(value, MOST_RUNS + 1))
            if len(value) > MOST_RUNS:
                raise ValueError(f"must be at most {MOST_RUNS:,}")
        return value

    @field_validator("datasets", "methods", "optimizers", "shots", "seeds", "budgets")
    @classmethod
    def _some(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            raise ValueError("must hold at least one")
        return value

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str = "the plan") -> Plan:
        """A plan from plain values.

        Args:
            values: field → value.
            source: origin of the values, for error messages.

        Raises:
            CraftZooError: a key is unknown, or a value has a wrong type.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise CraftZooError(f"{source}: {_sentence(error)}") from None

    def runs(
        self, opened: OpenedDatasets | None = None, *, look: bool = True
    ) -> dict[RunSpec, str]:
        """All runs with the names of their variants, "" for those of methods x optimizers.

        Args:
            opened: data sets opened before; those that are opened here are added.
            look: open the data sets, see :func:`cross`.

        Raises:
            CraftZooError: a data set cannot be opened, or a method or setting is unknown.
            OptimizerError: an optimizer is unknown or has an invalid option.
        """
        if self.parts:
            common = self.model_dump(exclude={"parts"}, exclude_unset=True)
            together: dict[RunSpec, str] = {}
            opened = opened or OpenedDatasets()
            for name, part in self.parts.items():
                if "parts" in part:
                    raise CraftZooError(
                        f"part {short(name)} contains parts: move them to the plan's top level"
                    )
                plan = Plan.of(common | part, f"part {short(name)} of the plan")
                together |= plan.runs(opened, look=look)
                check_count(len(together))
            return together
        config = read_settings(self.settings)
        limited = [replace(config, per_image=limit) for limit in self.per_image] or [config]
        if len(limited) == 1:
            [config] = limited
        limits = readers_of("per_image")
        combined = [
            each._replace(config=one)
            for each in combine(self.methods, self.optimizers, config)
            for one in (limited if each.method in limits else [config])
        ]
        named: dict[Variant, str] = {}
        for name, entry in self.variants.items():
            variant = self._variant(name, entry, config)
            if variant in named:
                raise CraftZooError(
                    f"variant {name!r} is the same as variant {named[variant]!r}: remove one, or "
                    f"change its settings"
                )
            named[variant] = name
        shared = {name: getattr(self, name) for name in OPENING if name != "root"}
        shared |= {"root": self.data_root}
        given = [entry.model_dump(exclude_unset=True) for entry in self.datasets]
        runs = cross(
            model_name(self.model, self.pretrained),
            [DatasetSpec(**shared | entry) for entry in given],
            [*dict.fromkeys(combined), *named],
            shots=self.shots,
            seeds=self.seeds,
            budgets=self.budgets_by_shots or self.budgets,
            measured_on=self.measured_on,
            transfer=self.transfer,
            opened=opened,
            look=look,
        )
        return {run: named.get(Variant(run.method, run.optimizer, run.config), "") for run in runs}

    def _variant(self, name: str, entry: VariantEntry, config: CraftConfig) -> Variant:
        optimizer = NO_OPTIMIZER
        if find_method(entry.method).uses_optimizer:
            optimizer = entry.optimizer or optimizers_for(entry.method, self.optimizers)[0]
        elif entry.optimizer is not None:
            raise CraftZooError(
                f"variant {name!r}: the method {entry.method} uses no optimizer: leave it out"
            )
        own = read_settings(entry.settings, config)
        for setting in entry.settings:
            if entry.method not in readers_of(setting, own):
                raise CraftZooError(
                    f"variant {name!r}: the method {entry.method} does not read the setting "
                    f"{setting}: leave it out"
                )
        return Variant(entry.method, optimizer, own)


def _sentence(error: ValidationError) -> str:
    """Message about the first error, with its place and a suggestion."""
    found = error.errors(include_url=False)
    # A misspelt key is reported first, as it also makes a required key missing.
    extra = next((each for each in found if each["type"] == "extra_forbidden"), None)
    if extra is None:
        return first_fault(error)
    *_, last = extra["loc"]
    holder: type[_StrictModel] = VariantEntry if extra["loc"][0] == "variants" else Plan
    if extra["loc"][0] == "datasets":
        holder = DatasetEntry
    known = holder.model_fields
    meant = did_you_mean(str(last)[:100], known).rstrip() or f"use {', '.join(known)}"
    return f"{place(extra['loc'])} is no key of a plan: {meant}"
