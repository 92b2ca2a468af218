"""Allowed imports between packages, and modules that the command line does not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "craft_zoo.optimizers": ROOT / "optimizers",
    "craft_zoo.benchmarks": ROOT / "benchmarks",
    "craft_zoo": ROOT / "craft_zoo",
}
# What each package may import of craft-zoo besides itself; other packages are not checked.
BASICS = (
    *("counts", "errors", "files", "printable", "records"),
    *("logs", "threads", "seeding", "machine", "tensors"),
)
ALLOWED = {
    "craft_zoo.optimizers": (),
    "craft_zoo.protocol": BASICS,
    "craft_zoo.server": (
        *BASICS,
        *("blackbox", "deployed", "protocol", "data.images", "data.pixels"),
    ),
    "craft_zoo.client": (*BASICS, "blackbox", "protocol", "data", "optimizers.option"),
    "craft_zoo.openclip": (*BASICS, "blackbox", "data", "mini"),
    "craft_zoo.blackbox": (*BASICS, "data", "mini", "openclip", "client", "optimizers.plugins"),
    "craft_zoo.refiner": (*BASICS, "groups", "losses"),
    "craft_zoo.prompts": (*BASICS, "blackbox", "optimizers", "data"),
    "craft_zoo.craft": (
        *BASICS,
        *("anchors", "blackbox", "losses", "metrics", "solution"),
        *("local_features", "optimizers", "prompts", "refiner"),
    ),
}


def imported(file: Path) -> Iterator[str]:
    """Modules of craft-zoo that a file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module == "craft_zoo":
                yield from (f"craft_zoo.{alias.name}" for alias in node.names)
            elif node.module.startswith("craft_zoo."):
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("craft_zoo."))


def files(package: str) -> Iterator[Path]:
    top = next(name for name in FOLDERS if package == name or package.startswith(f"{name}."))
    folder = FOLDERS[top].joinpath(*package.removeprefix(top).strip(".").split("."))
    yield from folder.rglob("*.py")


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_what_it_may(package: str) -> None:
    may = (package, *(f"craft_zoo.{name}" for name in ALLOWED[package]))
    for file in files(package):
        for module in imported(file):
            assert any(module == name or module.startswith(f"{name}.") for name in may), (
                f"{file.relative_to(ROOT)} imports {module}"
            )


def test_only_the_command_line_and_the_benchmarks_import_the_benchmarks() -> None:
    for file in files("craft_zoo"):
        if "cli" not in file.parts:
            assert not [m for m in imported(file) if m.startswith("craft_zoo.benchmarks")], file


# What computes with PyTorch; all else is imported without the extra torch.
WITH_TORCH = (
    *("craft_zoo/openclip/", "craft_zoo/mini/packing.py", "craft_zoo/mini/training/"),
    *("craft_zoo/prompts/visual.py", "craft_zoo/prompts/blackvip.py"),
    *("craft_zoo/refiner/network.py", "craft_zoo/craft/network_objective.py"),
    *("benchmarks/speed/", "benchmarks/costs.py", "benchmarks/robustness.py"),
)


def test_other_modules_do_not_import_torch_when_they_are_imported() -> None:
    for file in (each for package in FOLDERS for each in files(package)):
        name = file.relative_to(ROOT).as_posix()
        if name.startswith(WITH_TORCH):
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            tops = {module.partition(".")[0] for module in modules}
            assert not tops & {"torch", "torchvision", "open_clip", "timm"}, name


HEAVY = ("torch", "pandas", "matplotlib", "nevergrad", "open_clip", "scipy", "numpy", "sklearn")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("from craft_zoo.cli.main import main\nmain(['--help'])", HEAVY),
        ("from craft_zoo.cli.main import main\nmain(['--version'])", HEAVY),
        ("import craft_zoo", HEAVY),
        ("import craft_zoo.optimizers", HEAVY),
        (
            "from craft_zoo.optimizers import minimize\nminimize(abs, 1.0, budget=9)",
            ("torch", "pandas", "nevergrad", "open_clip"),
        ),
        (
            "from craft_zoo.optimizers.random_search import RandomSearch",
            ("scipy", "torch", "cma", "nevergrad"),
        ),
    ],
)
def test_what_is_not_needed_is_not_loaded(code: str, absent: tuple[str, ...]) -> None:
    report = "\nfinally:\n import sys; print('LOADED', *sys.modules)"
    indented = "try:\n" + "\n".join(f" {line}" for line in code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", indented + report], capture_output=True, text=True, check=False
    )
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert "craft_zoo" in loaded, done.stderr
    assert not loaded & set(absent)
