"""Names of data sets for people and for files: no two alike, and nothing in them that does harm."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from craft_zoo.benchmarks.grid import RunSpec, slug
from craft_zoo.printable import printable

_LONGEST = 60  # letters of a name that is drawn, and of a file's


class DatasetName(NamedTuple):
    """What a run's data set is called.

    Attributes:
        key: as it was given; where the grid has that several times, with what tells them apart.
        name: for people: the last part of its path, or as many as tell it apart.
    """

    key: str
    name: str


def name_datasets(runs: Iterable[RunSpec]) -> dict[RunSpec, DatasetName]:
    """The data set's name of each run; two are alike only where the data are.

    ``folder:a/images`` and ``folder:b/images`` are ``a/images`` and ``b/images``; one folder with
    class names of two files, or measured on other images, has that in parentheses.

    Args:
        runs: all those that are shown together.
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
    """The shortest ends of paths, by whole parts, that no other of them has too.

    Args:
        paths: what stands before a first colon, as in ``folder:a/images``, is left out where the
            rest tells them apart.
    """
    ends = {path: _ends(path) for path in dict.fromkeys(paths)}
    often = Counter(end for some in ends.values() for end in some)
    return {
        path: next((end for end in some if often[end] == 1), path) for path, some in ends.items()
    }


def _ends(path: str) -> list[str]:
    """The ends of a path by whole parts, each once, the shortest first."""
    whole = [part for part in path.split("/") if part]
    within = [part for part in path.partition(":")[2].split("/") if part] or whole
    longer = ["/".join(within[-n:]) for n in range(2, len(within) + 1)]
    return list(dict.fromkeys([*whole[-1:], *longer, "/".join(whole)]))


def _kind(run: RunSpec) -> tuple[Any, ...]:
    """What two runs on one task have in common beside the data set's name and the shots."""
    spec = run.dataset
    protocol = (spec.sampling, spec.fewer, run.measured_on)
    where = (spec.classnames, spec.root, spec.skip_bad)
    return (*protocol, run.data) if run.data else (*protocol, *where)


def _notes(runs: list[RunSpec]) -> list[str]:
    """What tells runs on a data set of one name apart, in words; "" for a single one."""
    if len(runs) == 1:
        return [""]
    specs = [run.dataset for run in runs]
    files = distinguished(spec.classnames for spec in specs if spec.classnames)
    roots = distinguished(spec.root for spec in specs if spec.root)
    told = [
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
    varied = [name for name in told[0] if len({each[name] for each in told}) > 1]
    notes = [", ".join(each[name] for name in varied if each[name]) for each in told]
    often = Counter(notes)
    notes = [
        f"{note}, data {run.data[:6]}".removeprefix(", ") if often[note] > 1 else note
        for note, run in zip(notes, runs, strict=True)
    ]
    return [f" ({note})" if note else "" for note in notes]


def file_names(names: Iterable[str]) -> dict[str, str]:
    """A name for a file, without its suffix, for each name of people: safe, and no two alike.

    They are small letters, digits, dots and hyphens. Where that makes two alike, or nothing
    remains, or too much, a hash of the name is at the end.
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
    """A name without its middle where it is longer than ``most``, with a hash of all of it."""
    if len(name) <= most:
        return name
    half = most // 2 - 4
    return f"{name[:half]}…{name[-half:]} {_digest(name)[:6]}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]


def markdown_cell(name: str) -> str:
    """A name for a cell of a Markdown table."""
    return re.sub(r"([\\`*<\[\]|$])", r"\\\1", printable(name))
