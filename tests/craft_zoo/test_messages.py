"""Error messages name remedies for Python and for the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from craft_zoo.errors import CraftZooError, needs_extra

ROOT = Path(__file__).parents[2]
# A flag stands in parentheses behind the argument that it sets, as in "skip_bad=True (--skip-bad)".
FLAG = re.compile(r"--[a-z][a-z-]*")
BESIDE = re.compile(r"[\w)\]}'…] \([^()]*$")
COMMANDS = "craft_zoo/cli/"  # only the command line reads what these say


def modules() -> list[Path]:
    """All modules except commands and scripts, which define their own flags."""
    found = [
        path.relative_to(ROOT)
        for folder in ("craft_zoo", "optimizers", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    return [
        path
        for path in found
        if not str(path).startswith(COMMANDS)
        and "import argparse" not in (ROOT / path).read_text("utf-8")
    ]


def texts(tree: ast.AST) -> Iterator[str]:
    """Strings of a module except docstrings, with ``{}`` for inserted values."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    parts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts.update(map(id, node.values))
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings | parts
        ):
            yield node.value


def speaks_of_flags_alone(text: str) -> bool:
    """Whether a flag is named without the argument; a whole command may be named."""
    for flag in FLAG.finditer(text):
        before = text[: flag.start()]
        of_command = text == flag.group() or re.search("craft-zoo |pip install ", before)
        if not of_command and not BESIDE.search(before):
            return True
    return False


@pytest.mark.parametrize("module", modules(), ids=str)
def test_a_flag_stands_behind_the_argument_that_it_sets(module: Path) -> None:
    tree = ast.parse((ROOT / module).read_text("utf-8"))
    assert [text for text in texts(tree) if speaks_of_flags_alone(text)] == []


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ("add --skip-bad", True),
        ("add skip_bad=True (--skip-bad)", False),
        ("leave out quickgelu (--quickgelu, --no-quickgelu)", False),
        ("add (--skip-bad) or --fewer", True),
        ("run craft-zoo tune DATASET --force", False),
        ("--model", False),
    ],
)
def test_the_rule(text: str, alone: bool) -> None:
    assert speaks_of_flags_alone(text) is alone


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module", name="onnx.helper"), "X needs the package onnx"),
        (
            ImportError("libcudart.so: no such file"),
            r"X cannot load its package \(libcudart.so: no",
        ),
    ],
)
def test_a_missing_package_names_its_extra(error: ImportError, said: str) -> None:
    mend = r": pip install 'craft-zoo\[onnx\]'$"
    with pytest.raises(CraftZooError, match=rf"^{said}.*{mend}"), needs_extra("onnx", "X"):
        raise error


def test_a_fault_of_our_own_imports_is_no_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError), needs_extra("onnx", "X"):
        raise ModuleNotFoundError("No module", name="craft_zoo.nothing")
