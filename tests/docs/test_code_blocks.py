"""Code blocks of README and docs/ work as written.

- Python runs, a page's blocks one after another as one program, in a folder with some images. What
  takes long or is elsewhere is replaced: see ``replaced``.
- Of shell commands every ``craft-zoo`` one is parsed, also those within sentences, every Python
  module exists, and so does every extra that is installed.
- Plans are read, and so are other YAML, TOML and JSON.

A block that cannot run follows ``<!-- test: skip (why) -->``, and is among the skipped tests.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import inspect
import io
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import craft_zoo
from craft_zoo import data
from craft_zoo.benchmarks import Plan, read_plan
from craft_zoo.cli.main import build_parser
from craft_zoo.openclip import OpenCLIP

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = {"bash", "sh", "console"}
KNOWN = {"python", "yaml", "toml", "json", *SHELL, ""}
BUDGET, SHOTS = 45, 1  # more queries or shots than these are not run here

_FENCE = re.compile(r"^( *)(```+)(\S*)[^\n]*\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_SKIP = re.compile(r"<!-- test: skip \((.+)\) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block: its place and language, and why it is skipped, if it is."""

    page: Path
    line: int
    language: str
    code: str
    skip: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path, text: str) -> Iterator[Block]:
    for found in _FENCE.finditer(text):
        skip = _SKIP.search(text[: found.start()])
        line = text[: found.start()].count("\n") + 1
        code = inspect.cleandoc("\n" + found[4]) if found[1] else found[4]
        yield Block(page, line, found[3], code, skip[1] if skip else None)


BLOCKS = [block for page in PAGES for block in blocks_of(page, page.read_text(encoding="utf-8"))]


def these(*languages: str) -> list[Any]:
    """Blocks as parameters; skipped ones have their reason."""
    return [
        pytest.param(
            block,
            id=block.place,
            marks=[pytest.mark.skip(reason=block.skip)] if block.skip else [],
        )
        for block in BLOCKS
        if block.language in languages
    ]


def test_the_reader_finds_blocks() -> None:
    text = "a\n<!-- test: skip (no net) -->\n```python\nx\n```\n\n- b\n\n  ```json\n  1\n  ```\n"
    first, second = blocks_of(ROOT / "README.md", text)
    assert (first.line, first.language, first.code, first.skip) == (3, "python", "x\n", "no net")
    assert (second.line, second.language, second.code.strip(), second.skip) == (
        9,
        "json",
        "1",
        None,
    )
    assert {block.language for block in BLOCKS} <= KNOWN
    assert len(BLOCKS) > 40


@pytest.fixture
def replaced(
    monkeypatch: pytest.MonkeyPatch,
    registered: None,
    tiny_vlm: OpenCLIP,
    image_folder: Path,
    published_root: Path,
    tmp_path: Path,
) -> Callable[[str], str]:
    """The environment of the pages' Python code: ``pets/``, local models, small numbers.

    Whatever model is opened is ``tiny_vlm``, no tuning has more than ``BUDGET`` queries, no task
    more than ``SHOTS`` shots; the calls must fit the real signatures. Optimizers that are
    registered are forgotten afterwards.

    Returns:
        A page's code with ``/data`` as the folder with the published data sets.
    """
    monkeypatch.chdir(tmp_path)
    shutil.copytree(image_folder, tmp_path / "pets")
    smaller: dict[str, Callable[[dict[str, Any]], None]] = {
        "tune": lambda given: given.update(budget=min(given["budget"], BUDGET)),
        "few_shot": lambda given: given.update(shots=min(given["shots"], SHOTS)),
    }
    for module in (craft_zoo, data):
        for name, change in smaller.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, _bound(getattr(module, name), change))
    opened = inspect.signature(craft_zoo.load_vlm)

    def load_vlm(*args: Any, **kwargs: Any) -> OpenCLIP:
        opened.bind(*args, **kwargs)
        return tiny_vlm

    monkeypatch.setattr(craft_zoo, "load_vlm", load_vlm)
    return lambda code: code.replace('"/data"', repr(str(published_root)))


def _bound(function: Callable[..., Any], change: Callable[[dict[str, Any]], None]) -> Any:
    """The function with some arguments changed, defaults included."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        change(given.arguments)
        return function(*given.args, **given.kwargs)

    return call


PYTHON_PAGES = sorted({b.page for b in BLOCKS if b.language == "python"})


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda page: page.name)
def test_python_runs(page: Path, replaced: Callable[[str], str]) -> None:
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in BLOCKS:
        if block.page == page and block.language == "python" and not block.skip:
            # Tracebacks name the page and its line.
            code = "\n" * block.line + replaced(block.code)
            exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize("block", [each for each in these("python") if each.marks])
def test_python_that_is_not_run_compiles(block: Block) -> None:
    compile(block.code, block.place, "exec")


def commands(code: str) -> Iterator[list[str]]:
    """The words of each command of a shell script, without assignments before it."""
    for line in re.sub(r"\\\n", " ", code).splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="&;|<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in ("&&", ";", "|", "||", "&"):
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    del words[0]
                if words:
                    yield words
                words = []
            else:
                words.append(word)


EXTRAS = set(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)


def check_command(words: list[str]) -> str:
    """What is wrong with a command; "" if nothing is."""
    program = words[0].rpartition("/")[2]
    if program == "craft-zoo":
        return parsed(build_parser(), words[1:])
    if program.startswith("python") and words[1:2] == ["-m"] and words[2].startswith("craft_zoo"):
        found = importlib.util.find_spec(words[2])
        if found is None:
            return f"no module {words[2]}"
        package = found.submodule_search_locations is not None
        module = importlib.import_module(words[2] + ".__main__" * package)
        return parsed(module._parser(), words[3:]) if hasattr(module, "_parser") else ""
    if program == "pip":
        named = re.findall(r"(?:craft-zoo|\.)\[([a-z,]+)\]", " ".join(words))
        return ", ".join({extra for each in named for extra in each.split(",")} - EXTRAS)
    return ""


def parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> str:
    """The error message of a parser."""
    said = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(said):
        parser.parse_args(arguments)
    return said.getvalue()


@pytest.mark.parametrize("block", these(*SHELL))
def test_commands_are_parsed(block: Block) -> None:
    for words in commands(block.code):
        assert not check_command(words), shlex.join(words)


def test_a_command_that_is_wrong_is_found() -> None:
    code = "A=1 craft-zoo tune \\\n  'a b' # d\ncd x && craft-zoo tune a --budgte 3 | less"
    assert list(commands(code)) == [
        ["craft-zoo", "tune", "a b"],
        ["cd", "x"],
        ["craft-zoo", "tune", "a", "--budgte", "3"],
        ["less"],
    ]
    assert not check_command(["/env/bin/craft-zoo", "predict", "a b", "c"])
    assert "--budgte" in check_command(["craft-zoo", "cache", "--budgte", "3"])
    assert check_command(["craft-zoo", "tnue"])
    assert check_command(["python", "-m", "craft_zoo.benchmarks.speed", "nothing"])
    assert check_command(["python", "-m", "craft_zoo.nothing"])
    assert check_command(["pip", "install", "craft-zoo[serv]"]) == "serv"


def subcommands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_sentences_exist(page: Path) -> None:
    """Inline code says a command with what matters of its options."""
    known = subcommands()
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for found in re.findall(r"`craft-zoo\s+([a-z][^`]*)`", text):
        name, *rest = re.sub(r"\s+", " ", found).split(" ")
        assert name in known, f"{page.name}: craft-zoo {found}"
        for option in re.findall(r"(?<!\S)--[a-z-]+", " ".join(rest)):
            assert option in known[name]._option_string_actions, f"{page.name}: craft-zoo {found}"


@pytest.mark.parametrize("block", these("yaml", "toml", "json"))
def test_files_are_read(block: Block, tmp_path: Path) -> None:
    if block.language == "json":
        json.loads(block.code)
    elif block.language == "toml" and "datasets" not in tomllib.loads(block.code):
        assert "project" in tomllib.loads(block.code)
    elif block.language == "yaml" and "services" in yaml.safe_load(block.code):
        pass  # of containers
    else:
        plan = tmp_path / f"plan.{block.language}"
        plan.write_text(block.code, encoding="utf-8")
        Plan.of(read_plan(plan)).runs(look=False)
