"""Unique, sanitized names of data sets and files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from craft_zoo.benchmarks.grid import RunSpec, slug
from craft_zoo.printable import printable

_LONGEST = 60  # characters of a drawn name, and of a file name


class DatasetName(NamedTuple):
    """Names of a run's data set.

    Attributes:
        key: the name as given, with a distinguishing note where runs differ in their data.
        name: display name: the shortest distinct end of its path, with the same note.
    """

    key: str
    name: str


def name_datasets(runs: Iterable[RunSpec]) -> dict[RunSpec, DatasetName]:
    """Name each run's data set; two runs share a name only if they use the same data.

    ``folder:a/images`` and ``folder:b/images`` become ``a/images`` and ``b/images``. If runs use
    one folder with different class-name files or evaluation splits, a note in parentheses says so.

    Args:
        runs: all runs that are shown together.
    """
    runs = list(runs)
    kinds: dict[str, dict[tuple[Any, ...], RunSpec]] = defaultdict(dict)
    for run in runs:
        kinds[run.dataset.name].setdefault(_kind(run), run)
    short = distinguished(kinds)
    notes = {
        (dataset, kind): note
        for dataset, found in kinds.items()
        for kind, note in zip(found, _notes(list(found.values())), strict=True)
    }
    named = {}
    for run in runs:
        note = notes[run.dataset.name, _kind(run)]
        both = run.dataset.name + note, short[run.dataset.name] + note
        named[run] = DatasetName(*map(printable, both))
    return named


def distinguished(paths: Iterable[str]) -> dict[str, str]:
    """Map each path to its shortest suffix of whole components that no other path shares.

    Args:
        paths: a prefix up to the first colon, as in ``folder:a/images``, is dropped where the rest
            is unique.
    """
    ends = {path: _ends(path) for path in dict.fromkeys(paths)}
    often = Counter(end for some in ends.values() for end in some)
    return {
        path: next((end for end in some if often[end] == 1), path) for path, some in ends.items()
    }


def _ends(path: str) -> list[str]:
    """Distinct suffixes of whole path components, shortest first."""
    whole = [part for part in path.split("/") if part]
    within = [part for part in path.partition(":")[2].split("/") if part] or whole
    longer = ["/".join(within[-n:]) for n in range(2, len(within) + 1)]
    return list(dict.fromkeys([*within[-1:], *longer, "/".join(whole)]))


def _kind(run: RunSpec) -> tuple[Any, ...]:
    """Key that identifies a run's data beyond the data set's name and the number of shots."""
    spec = run.dataset
    protocol = (spec.sampling, spec.fewer, run.measured_on)
    where = (spec.classnames, spec.root, spec.skip_bad)
    return (*protocol, run.data) if run.data else (*protocol, *where)


def _notes(runs: list[RunSpec]) -> list[str]:
    """Notes that distinguish runs on data sets of the same name; "" for a single run."""
    if len(runs) == 1:
        return [""]
    specs = [run.dataset for run in runs]
    files = distinguished(spec.classnames for spec in specs if spec.classnames)
    roots = distinguished(spec.root for spec in specs if spec.root)
    descriptions = [
        {
            "classnames": files.get(spec.classnames or "", ""),
            "root": f"in {roots[spec.root]}" if spec.root else "",
            "sampling": "" if spec.sampling == "uniform" else f"{spec.sampling} shots",
            "fewer": "" if spec.fewer == "error" else f"fewer={spec.fewer}",
            "skip_bad": "without broken images" if spec.skip_bad else "",
            "measured_on": "" if run.measured_on == "test" else f"on {run.measured_on}",
        }
        for run, spec in zip(runs, specs, strict=True)
    ]
    varied = [name for name in descriptions[0] if len({each[name] for each in descriptions}) > 1]
    notes = [", ".join(each[name] for name in varied if each[name]) for each in descriptions]
    often = Counter(notes)
    notes = [
        f"{note}, data {run.data[:6]}".removeprefix(", ") if often[note] > 1 else note
        for note, run in zip(notes, runs, strict=True)
    ]
    return [f" ({note})" if note else "" for note in notes]


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Map display names to unique file stems of lower-case letters, digits, dots and hyphens.

    A stem that is ambiguous, empty or longer than 60 characters gets a hash of the name appended.
    """
    plain = {name: slug(name).lower().strip(".") for name in names}
    often = Counter(plain.values())
    return {
        name: stem
        if stem and len(stem) <= _LONGEST and often[stem] == 1
        else f"{stem[:_LONGEST]}-{_digest(name)}".strip("-")
        for name, stem in plain.items()
    }


def shortened(name: str, most: int = _LONGEST) -> str:
    """Replace the middle of a name longer than ``most`` characters, and append the name's hash."""
    if len(name) <= most:
        return name
    half = most // 2 - 4
    return f"{name[:half]}…{name[-half:]} {_digest(name)[:6]}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]


def markdown_cell(name: str) -> str:
    """Escape a name for a cell of a Markdown table."""
    return re.sub(r"([\\`*<\[\]|$])", r"\\\1", printable(name))
