"""A grid of runs as a file: what a paper's experiment is, in a page of YAML or TOML."""

from __future__ import annotations

import difflib
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
)

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
from craft_zoo.files import expanded, read_bounded
from craft_zoo.methods import DEFAULT_OPTIMIZER, optimizers_for, read_settings, uses_optimizer
from craft_zoo.openclip import model_name
from craft_zoo.records import place, sentence, short

DEFAULT_METHODS = ("zero-shot", "craft")
_BYTES = 2**17  # of a plan: two thousand lines
_DEPTH = 20  # of lists and mappings in each other; a plan has 5
_DOTS = 1000  # in a line of TOML
_Several = Field(max_length=1000)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# A data set of a plan: those fields of a DatasetSpec in which it differs from the plan's.
_FIELDS: dict[str, Any] = {
    name: (kind, getattr(DatasetSpec, name, ...))
    for name, kind in get_type_hints(DatasetSpec).items()
    if name in ("name", "classnames", *OPENING)
}
if TYPE_CHECKING:
    DatasetEntry = _Part
else:
    DatasetEntry = create_model("DatasetEntry", __base__=_Part, **_FIELDS)


class VariantEntry(_Part):
    """Something to run beside methods x optimizers, under a name of its own.

    Attributes:
        method: name of a method.
        optimizer: its spec; None: the plan's first that fits.
        settings: that differ from the plan's.
    """

    method: str = "craft"
    optimizer: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


class Plan(_Part):
    """A grid: data sets x shots x seeds x budgets x (methods x optimizers, and variants).

    Attributes:
        model: for :func:`craft_zoo.load_vlm`.
        pretrained: likewise.
        datasets: as names, or as fields of :class:`craft_zoo.data.DatasetSpec`.
        methods: names.
        optimizers: specs.
        shots: training images a class.
        seeds: how many from 1 on, or which.
        budgets: queries.
        budgets_by_shots: queries of runs with so many shots, in place of ``budgets``.
        settings: of the methods, where they differ from the defaults.
        variants: by name.
        data_root: ``root`` of all data sets, from where the plan's file lies.
        download: of all data sets, see :class:`craft_zoo.data.DatasetSpec`.
        skip_bad: of all data sets.
        sampling: of all data sets.
        fewer: of all data sets.
        measured_on: ``test``, or ``val`` for choices.
        transfer: data sets that each solution is tried on.
        parts: plans of their own, by name, each of what differs from this one; the grid is all of
            theirs together.
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

    # Of two validators that come before, the one below is the first to run.
    @field_validator("datasets", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return tuple({"name": each} if isinstance(each, str) else each for each in value)

    @field_validator(
        "datasets", "methods", "optimizers", "shots", "budgets", "transfer", mode="before"
    )
    @classmethod
    def _several(cls, value: Any) -> Any:
        """One thing stands for a list of one."""
        return tuple(value) if isinstance(value, list | tuple) else (value,)

    @field_validator("budgets_by_shots", mode="before")
    @classmethod
    def _numbered(cls, value: Any) -> Any:
        """Keys are text in TOML."""
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
            values: by field.
            source: where they come from, for messages.

        Raises:
            CraftZooError: a key that is not known, or a value of a wrong type.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise CraftZooError(f"{source}: {_sentence(error)}") from None

    def runs(
        self, opened: OpenedDatasets | None = None, *, look: bool = True
    ) -> dict[RunSpec, str]:
        """Every run with its variant's name, "" for one of methods x optimizers.

        Args:
            opened: data sets opened before; those that are opened here are added.
            look: open the data sets, see :func:`cross`.

        Raises:
            CraftZooError: a data set that cannot be opened, an unknown method or setting.
            OptimizerError: an unknown optimizer or a wrong option.
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
        named = {self._variant(name, entry, config): name for name, entry in self.variants.items()}
        shared = {name: getattr(self, name) for name in OPENING if name != "root"}
        shared |= {"root": self.data_root}
        given = [entry.model_dump(exclude_unset=True) for entry in self.datasets]
        runs = cross(
            model_name(self.model, self.pretrained),
            [DatasetSpec(**shared | entry) for entry in given],
            [*combine(self.methods, self.optimizers, config), *named],
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
        if uses_optimizer(entry.method):
            optimizer = entry.optimizer or optimizers_for(entry.method, self.optimizers)[0]
        elif entry.optimizer is not None:
            raise CraftZooError(
                f"variant {name!r}: the method {entry.method} uses no optimizer: leave it out"
            )
        return Variant(entry.method, optimizer, read_settings(entry.settings, config))


def read_plan(path: str | Path) -> dict[str, Any]:
    """The plain values of a plan's file, for :meth:`Plan.of`.

    Paths of data sets and class names that are relative are so to the file.

    Args:
        path: ``.yaml``, ``.yml`` or ``.toml``.

    Raises:
        CraftZooError: it is missing, larger than any plan, or cannot be read as what its name says.
    """
    path = Path(path)
    try:
        text = read_bounded(path, _BYTES, "a plan").decode("utf-8-sig")
        values = _parse(text, toml=path.suffix == ".toml")
    except FileNotFoundError:
        raise CraftZooError(f"the plan {path} does not exist: check the path") from None
    except CraftZooError:
        raise
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CraftZooError(f"the plan {path} cannot be read ({reason}): correct it") from None
    if not isinstance(values, dict):
        raise CraftZooError(f"the plan {path} holds no keys: write for instance 'datasets: digits'")
    for word in _words(values):
        if any(unicodedata.category(character) == "Cc" for character in word):
            raise CraftZooError(
                f"the plan {path} holds a control character in {short(word)}: remove it"
            )
    parts = values.get("parts")
    for each in (values, *(parts.values() if isinstance(parts, dict) else ())):
        if isinstance(each, dict):
            for key in ("datasets", "transfer"):
                if key in each:
                    each[key] = _beside(each[key], path.parent)
            if isinstance(each.get("data_root"), str):
                each["data_root"] = str(path.parent / expanded(each["data_root"]))
    return values


def _parse(text: str, *, toml: bool) -> Any:
    """Plain values.

    Raises:
        ValueError: the text is no such file, or nested too deeply.
    """
    # The time that tomllib takes for a dotted key grows with the square of its length.
    if toml and any(line.count(".") > _DOTS for line in text.splitlines()):
        raise ValueError(f"a line has more than {_DOTS} dots")
    try:
        return tomllib.loads(text) if toml else yaml.load(text, _PlanLoader)
    except RecursionError:
        raise ValueError("lists are nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


class _PlanLoader(yaml.SafeLoader):
    """PyYAML's loader of plain values, without what a plan needs nowhere.

    An alias (``*name``) can make gigabytes of a page; of a key that stands twice, only the last
    value would count; a tag (``!!int x``) whose value does not fit ends in PyYAML's own errors.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise self._refusal(f"*{event.anchor} repeats an earlier value: write it out", event)
        if getattr(event, "tag", None) is not None:
            raise self._refusal(
                f"the tag {short(event.tag)} is not allowed in plans: remove it", event
            )
        if self._depth >= _DEPTH:
            raise self._refusal("lists are nested too deeply", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in names.most_common(1):
            if count > 1:
                raise ValueError(f"the key {short(name)} occurs twice")
        return super().construct_mapping(node, deep)

    @staticmethod
    def _refusal(reason: str, event: yaml.Event) -> ValueError:
        line = "" if event.start_mark is None else f", line {event.start_mark.line + 1}"
        return ValueError(reason + line)


def _words(value: Any) -> Iterator[str]:
    """All texts in plain values, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value:
            yield from _words(each)
        if isinstance(value, dict):
            yield from _words(list(value.values()))


def suite_names() -> list[str]:
    """Plans that come with craft-zoo: a paper's experiments each."""
    folder = resources.files("craft_zoo.benchmarks").joinpath("suites")
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir())


def read_suite(name: str) -> dict[str, Any]:
    """The plain values of a suite, for :meth:`Plan.of`."""
    file = resources.files("craft_zoo.benchmarks").joinpath("suites", f"{name}.yaml")
    return yaml.safe_load(file.read_text(encoding="utf-8"))


_WITH_PATHS = ("folder", "manifest")


def _beside(datasets: Any, folder: Path) -> Any:
    """Data sets with their relative paths made to start at the plan's folder."""
    if isinstance(datasets, list):
        return [_beside(each, folder) for each in datasets]
    if isinstance(datasets, str):
        kind, _, argument = datasets.partition(":")
        moved_to = f"{kind}:{folder / expanded(argument)}"
        return moved_to if kind in _WITH_PATHS and argument else datasets
    if isinstance(datasets, dict):
        moved = dict(datasets)
        if isinstance(moved.get("name"), str):
            moved["name"] = _beside(moved["name"], folder)
        for key in ("classnames", "root"):
            if isinstance(moved.get(key), str):
                moved[key] = str(folder / expanded(moved[key]))
        return moved
    return datasets


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, where, and what was perhaps meant."""
    found = error.errors(include_url=False)
    # A misspelt key explains the one that is then missing.
    extra = next((each for each in found if each["type"] == "extra_forbidden"), None)
    if extra is None:
        return sentence(error)
    *_, last = extra["loc"]
    holder: type[_Part] = VariantEntry if extra["loc"][0] == "variants" else Plan
    if extra["loc"][0] == "datasets":
        holder = DatasetEntry
    known = list(holder.model_fields)
    close = difflib.get_close_matches(str(last)[:100], known, 1)
    meant = f"did you mean {close[0]!r}?" if close else f"use {', '.join(known)}"
    return f"{place(extra['loc'])} is no key of a plan: {meant}"
