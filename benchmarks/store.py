"""Storage of a bench's runs: one folder per run, whose record is written atomically."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from craft_zoo.adapter import Adapter
from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.blackbox import VLM, Busy, Journal, Usage, check_described
from craft_zoo.blackbox.usage import UNITS
from craft_zoo.errors import CraftZooError
from craft_zoo.files import OTHER_FOLDER, read_bounded, write_atomically, writing
from craft_zoo.records import check, parse, seal_holds, sealed
from craft_zoo.threads import computing_threads

_PACKAGES = ("craft-zoo", "torch", "open_clip_torch", "nevergrad", "cma", "numpy")
_DESCRIBED = "served"  # name of the served model's description in the environment
_RECORD, _ADAPTER, _JOURNAL = "run.json", "adapter.safetensors", "journal"
RECORD_BYTES = 2**22  # largest record read: sixty times the largest in docs/results

_Count = Annotated[int, Field(ge=0, le=2**53)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Measured = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _or_nan(value: Any) -> Any:
    return math.nan if value is None else value


# NaN is no JSON: it is written as null. Files of earlier versions have NaN.
_Known = Annotated[
    float,
    BeforeValidator(_or_nan),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
]


@dataclass(frozen=True)
class Point:
    """One measured point of a run's curve.

    Attributes:
        queries: contexts scored on the training images so far.
        accuracy: on the test images, in [0, 1].
        train_accuracy: on the few-shot images, in [0, 1]; NaN: unknown.
        loss: the prompt optimizer's smallest loss in the generation; NaN: unknown.
        search_predictions, refiner_predictions, evaluation_predictions: model predictions so far,
            by purpose.
        seconds: since the run began, evaluation included.
        image_predictions: predictions per image that the deployed solution needs.
        billed_predictions: those of search and refiner so far as services count them, one for each
            prompt and image; 0 in records of earlier versions.
        requests, images, input_tokens, output_tokens: what a service billed for search and refiner
            so far, if it reports that.
        llm_requests, llm_input_tokens, llm_output_tokens, llm_cost: usage of a language model so
            far, and its price; 0 if the price is unknown.
        cost, evaluation_cost: price of search and refiner, a language model included, and of
            evaluation so far; NaN: unknown.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    queries: _Count
    accuracy: _Share
    train_accuracy: _Known
    loss: _Known
    search_predictions: _Count
    refiner_predictions: _Count
    evaluation_predictions: _Count
    seconds: _Measured
    image_predictions: _Measured = 1.0
    billed_predictions: _Count = 0
    requests: _Count = 0
    images: _Count = 0
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    llm_requests: _Count = 0
    llm_input_tokens: _Count = 0
    llm_output_tokens: _Count = 0
    llm_cost: _Measured = 0.0
    cost: _Known = math.nan
    evaluation_cost: _Known = math.nan

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are equal; unknown ones (NaN) are equal to each other."""
        if not isinstance(other, Point):
            return NotImplemented
        pairs = zip(astuple(self), astuple(other), strict=True)
        return all(mine == theirs or (mine != mine and theirs != theirs) for mine, theirs in pairs)

    @property
    def usage(self) -> Usage:
        """Usage billed for search and refiner so far, a language model included."""
        counted = self.search_predictions + self.refiner_predictions
        units = {name: getattr(self, name) for name in UNITS}
        return Usage(self.billed_predictions or counted, **units)


USAGE_COLUMNS = ("billed_predictions", *UNITS, "llm_cost")
COST_COLUMNS = ("cost", "evaluation_cost")


class _Environment(BaseModel):
    """The field ``environment`` of ``run.json``: versions and machine, and the served model."""

    model_config = ConfigDict(extra="allow")

    served: dict[str, str] = Field(default_factory=dict)


class _Record(BaseModel):
    """The content of ``run.json``; :meth:`RunSpec.from_json` validates the field ``run``."""

    model_config = ConfigDict(extra="forbid")

    run: dict[str, Any]
    points: Annotated[list[Point], Field(min_length=1)]
    environment: _Environment = Field(default_factory=_Environment)
    lost: _Count = 0
    transfer: dict[str, _Share] = Field(default_factory=dict)
    checksum: str | None = None


class Record(NamedTuple):
    """A finished run.

    Attributes:
        run: the run.
        points: its curve.
        transfer: accuracy of its solution on other data sets, by name.
        described: :meth:`VLM.identity` of the model; {} if it is not known.
    """

    run: RunSpec
    points: list[Point]
    transfer: dict[str, float]
    described: dict[str, str]


_UNREADABLE = "the record {} cannot be read ({}): remove its folder to run it again"


class RunStore:
    """Stores runs in ``folder/runs/<identity>/``: ``run.json`` and ``adapter.safetensors``.

    A run without a deployable solution has no adapter. ``run.json`` is written last and
    atomically, so a run with it is complete. Until then ``journal`` records queries and answers,
    and a lock on it marks the run as being executed, so several processes may share a store.

    One folder per run, rather than one database, lets stores of several machines be merged by
    copying, limits the damage of a corrupt file to one run, and can be read without craft-zoo. A
    record contains a checksum of its content, as a changed digit would falsify a result.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with writing(folder, OTHER_FOLDER):
            (folder / "runs").mkdir(parents=True, exist_ok=True)

    def load(self, run: RunSpec) -> list[Point] | None:
        """The curve of a finished run, or None."""
        path = self._folder(run) / _RECORD
        return _read(path).points if path.exists() else None

    def read_all(self) -> tuple[dict[RunSpec, Record], list[str]]:
        """The records of all finished runs, and an error message per unreadable record."""
        paths = sorted((self.folder / "runs").glob(f"*/{_RECORD}"))
        return collect(partial(_read, path) for path in paths)

    def claim(self, run: RunSpec) -> Journal:
        """Lock a run and open its journal; the caller removes the journal when the run is finished.

        Raises:
            Busy: another process is executing the run.
            CraftZooError: the folder cannot be written.
        """
        with self._writing(run) as folder:
            return Journal(folder / _JOURNAL)

    def check_model(self, vlm: VLM) -> None:
        """Check that a model is the one that the finished runs under its name were made on.

        Raises:
            CraftZooError: it is another model now.
        """
        described = vlm.identity()
        if not described:
            return
        for run, record in self.read_all()[0].items():
            if run.model == vlm.name:
                when = f"{self._folder(run)} was made"
                mend = "choose another folder (--out), or continue with that one"
                check_described(vlm.name, record.described, described, when, mend)

    def has_records(self) -> bool:
        """Whether a run is finished."""
        return next((self.folder / "runs").glob(f"*/{_RECORD}"), None) is not None

    def sweep(self, run: RunSpec) -> None:
        """Remove the journal of a finished run, which remains if a kill came right after saving."""
        if (self._folder(run) / _JOURNAL).exists():
            with suppress(Busy), self.claim(run) as journal:
                journal.remove()

    def save(
        self,
        run: RunSpec,
        points: Sequence[Point],
        adapter: Adapter | None,
        *,
        lost: int = 0,
        transfer: Mapping[str, float] | None = None,
        described: Mapping[str, str] | None = None,
    ) -> None:
        """Store a finished run.

        Args:
            run: the run.
            points: its curve.
            adapter: its solution; None if an adapter cannot represent it.
            lost: contexts whose answers a kill has lost, so that they were queried twice (on one
                part of the images where queries are split into parts).
            transfer: accuracy of the solution on other data sets, by name.
            described: :meth:`VLM.identity` of the model.
        """
        served = {_DESCRIBED: dict(described)} if described else {}
        record = {
            "run": run.to_json(),
            "points": [_values(point) for point in points],
            "lost": lost,
            "transfer": dict(transfer or {}),
            "environment": environment() | served,
        }
        with self._writing(run) as folder:
            if adapter is not None:
                adapter.save(folder / _ADAPTER)
            write_atomically(folder / _RECORD, sealed(record))

    def files(self, run: RunSpec) -> dict[str, bytes]:
        """A finished run's files by name, as input for another store's :meth:`receive`."""
        names = (_ADAPTER, _RECORD)
        paths = [self._folder(run) / name for name in names]
        return {path.name: path.read_bytes() for path in paths if path.exists()}

    def receive(self, run: RunSpec, files: dict[str, bytes]) -> None:
        """Write a finished run's files from another store, the record last."""
        with self._writing(run) as folder:
            for name in (_ADAPTER, _RECORD):
                if name in files:
                    write_atomically(folder / name, files[name])

    def adapter_path(self, run: RunSpec) -> Path:
        """Path of a finished run's adapter; the file exists only for deployable solutions."""
        return self._folder(run) / _ADAPTER

    @contextmanager
    def _writing(self, run: RunSpec) -> Iterator[Path]:
        """Create and yield the run's folder; an OSError becomes a CraftZooError.

        A store that was removed or renamed meanwhile is created again, as a run may have been paid.
        """
        folder = self._folder(run)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            yield folder

    def _folder(self, run: RunSpec) -> Path:
        return self.folder / "runs" / run.identity


def _values(point: Point) -> dict[str, Any]:
    """The fields of a point, of usage and costs only those that are known and not 0."""
    return {
        name: None if math.isnan(value) else value
        for name, value in asdict(point).items()
        if not (name in USAGE_COLUMNS and not value)
        and not (name in COST_COLUMNS and math.isnan(value))
    }


def _read(path: Path) -> Record:
    """Read a record.

    Raises:
        CraftZooError: the record is unreadable, invalid or does not match its checksum.
    """
    try:
        content = read_bounded(path, RECORD_BYTES, "a record")
    except (OSError, ValueError) as error:
        raise CraftZooError(_UNREADABLE.format(path, error)) from None
    return parse_record(content, path)


def parse_record(content: bytes, name: str | Path) -> Record:
    """The record in the content of a ``run.json``.

    Args:
        content: of the file.
        name: of the file, for error messages.

    Raises:
        CraftZooError: the record is invalid or does not match its checksum.
    """
    try:
        record = parse(content)
        if seal_holds(record):
            points = check(_Record, record).points
            described = record.get("environment", {}).get(_DESCRIBED, {})
            run = RunSpec.from_json(record["run"])
            return Record(run, points, record.get("transfer", {}), described)
    except (ValueError, KeyError, TypeError) as error:
        raise CraftZooError(_UNREADABLE.format(name, error)) from None
    raise CraftZooError(
        f"the record {name} does not match its checksum: remove its folder to run it again"
    )


def collect(
    readers: Iterable[Callable[[], Record]],
) -> tuple[dict[RunSpec, Record], list[str]]:
    """The records that functions return, by run, and the messages of those that cannot be read."""
    records, broken = {}, []
    for read in readers:
        try:
            record = read()
            records[record.run] = record
        except CraftZooError as error:
            broken.append(str(error))
    return records, broken


def record_schema() -> dict[str, Any]:
    """JSON schema of a ``run.json``."""
    return _Record.model_json_schema()


def environment() -> dict[str, Any]:
    """Versions and machine, on which results depend besides their configuration."""
    return {
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": computing_threads(),
        "packages": {name: _version(name) for name in _PACKAGES if _version(name)},
    }


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)  # reads a file, which would take longest of saving a run
    except metadata.PackageNotFoundError:
        return ""  # packages of extras may be missing
