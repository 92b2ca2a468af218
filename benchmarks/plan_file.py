"""Reading of plans: files in YAML or TOML, and the suites that are shipped with craft-zoo."""

from __future__ import annotations

import tomllib
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from craft_zoo.errors import CraftZooError
from craft_zoo.files import expanded, read_bounded
from craft_zoo.records import short

_BYTES = 2**17  # of a plan: two thousand lines
_DEPTH = 20  # maximum nesting of lists and mappings; valid plans have 5
_DOTS = 1000  # maximum in a line of TOML


def read_plan(path: str | Path) -> dict[str, Any]:
    """The plain values of a plan's file, for :meth:`Plan.of`.

    Relative paths of data sets and class names are relative to the plan's folder.

    Args:
        path: ``.yaml``, ``.yml`` or ``.toml``.

    Raises:
        CraftZooError: the file is missing, too large, or not valid YAML or TOML.
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
    for word in _strings(values):
        if any(unicodedata.category(character) == "Cc" for character in word):
            raise CraftZooError(
                f"the plan {path} holds a control character in {short(word)}: remove it"
            )
    for each in plan_and_parts(values):
        for key in ("datasets", "transfer"):
            if key in each:
                each[key] = _resolved(each[key], path.parent)
        if isinstance(each.get("data_root"), str):
            each["data_root"] = str(path.parent / expanded(each["data_root"]))
    return values


def plan_and_parts(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The plain values of a plan and of its parts; :meth:`Plan.of` refuses parts without keys."""
    parts = values.get("parts")
    every = [values, *(parts.values() if isinstance(parts, dict) else ())]
    return [each for each in every if isinstance(each, dict)]


def _parse(text: str, *, toml: bool) -> Any:
    """Parse YAML or TOML to plain values.

    Raises:
        ValueError: the text is invalid, or nested too deeply.
    """
    # tomllib needs time quadratic in the length of a dotted key.
    if toml and any(line.count(".") > _DOTS for line in text.splitlines()):
        raise ValueError(f"a line has more than {_DOTS} dots")
    try:
        return tomllib.loads(text) if toml else yaml.load(text, _PlanLoader)
    except RecursionError:
        raise ValueError("lists are nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


class _PlanLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, duplicate keys and tags.

    Aliases (``*name``) can expand a page to gigabytes. Of duplicate keys, PyYAML would use only the
    last. Tags (``!!int x``) with unsuitable values raise internal errors of PyYAML.
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


def _strings(value: Any) -> Iterator[str]:
    """All strings in plain values, including keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(each)


def suite_names() -> list[str]:
    """Names of the plans that are shipped with craft-zoo, each with the experiments of a paper."""
    folder = resources.files("craft_zoo.benchmarks").joinpath("suites")
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir())


def read_suite(name: str) -> dict[str, Any]:
    """The plain values of a suite, for :meth:`Plan.of`."""
    file = resources.files("craft_zoo.benchmarks").joinpath("suites", f"{name}.yaml")
    return yaml.safe_load(file.read_text(encoding="utf-8"))


_WITH_PATHS = ("folder", "manifest")


def _resolved(datasets: Any, folder: Path) -> Any:
    """Data sets with relative paths resolved against the plan's folder."""
    if isinstance(datasets, list):
        return [_resolved(each, folder) for each in datasets]
    if isinstance(datasets, str):
        kind, _, argument = datasets.partition(":")
        moved_to = f"{kind}:{folder / expanded(argument)}"
        return moved_to if kind in _WITH_PATHS and argument else datasets
    if isinstance(datasets, dict):
        moved = dict(datasets)
        if isinstance(moved.get("name"), str):
            moved["name"] = _resolved(moved["name"], folder)
        for key in ("classnames", "root"):
            if isinstance(moved.get(key), str):
                moved[key] = str(folder / expanded(moved[key]))
        return moved
    return datasets
