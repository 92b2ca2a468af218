"""The project's description: citation and extras."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert "Black-Box Vision-Language Models" in citation["references"][0]["title"]


def test_the_extras_that_messages_name_exist() -> None:
    sources = [
        file.read_text(encoding="utf-8")
        for folder in ("craft_zoo", "benchmarks", "optimizers")
        for file in (ROOT / folder).rglob("*.py")
    ]
    named = {
        extra
        for source in sources
        for extra in re.findall(r"needs_extra\(\"([^\"]+)\"|craft-zoo\[([a-z-]+)\]", source)
    }
    flat = {each for pair in named for each in pair if each}
    assert {"torch", "serve", "onnx"} <= flat <= PROJECT["optional-dependencies"].keys()


def test_the_extras_of_users_are_listed() -> None:
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE)
    listed = {extra for row in rows for extra in re.findall(r"`([a-z]+)`", row)}
    assert listed == PROJECT["optional-dependencies"].keys() - {"dev", "docs", "mini-train"}


def test_every_dependency_says_the_oldest_version_that_is_tested() -> None:
    """.ci/run installs the oldest ones."""
    extras = PROJECT["optional-dependencies"]
    named = [*PROJECT["dependencies"]]
    for extra in extras.keys() - {"dev", "docs", "mini-train"}:
        named += [each for each in extras[extra] if not each.startswith("craft-zoo[")]
    assert [each for each in named if not re.match(r"[\w-]+>=\d", each)] == []
