"""The worked example of docs/write-your-own-optimizer.md, an optimizer in its own package."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from craft_zoo.optimizers.testing import check_optimizer

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "craft-zoo-mine"


def test_the_page_shows_the_files_of_the_example() -> None:
    page = (DOCS / "write-your-own-optimizer.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    for name in ("mine.py", "pyproject.toml", "test_mine.py"):
        assert f"Save this as `{name}`" in page
        assert (EXAMPLE / name).read_text(encoding="utf-8") in blocks


@pytest.mark.usefixtures("registered")
def test_the_example_passes_the_kit() -> None:
    runpy.run_path(str(EXAMPLE / "mine.py"))
    check_optimizer("mine")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's package, installed into a temporary folder."""
    source, folder = (tmp_path_factory.mktemp(name) for name in ("source", "site"))
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(folder), str(source)], check=True)
    return folder


def run(installed: Path, *command: str, cwd: Path) -> str:
    """The output of a command where the package is installed."""
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": str(installed), "COLUMNS": "120"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_installed_it_is_listed_passes_the_kit_and_runs_in_a_bench(
    installed: Path, tmp_path: Path
) -> None:
    craft_zoo = ("-c", "import sys; from craft_zoo.cli import main; sys.exit(main())")
    listed = run(installed, *craft_zoo, "optimizers", cwd=tmp_path)
    assert re.search(r"mine +\(1\+1\)-ES \(Rechenberg 1973\)", listed)
    assert re.search(
        r"sigma +float +0.3 +length of the first steps",
        run(installed, *craft_zoo, "optimizers", "mine", cwd=tmp_path),
    )
    tests = run(installed, "-m", "pytest", str(EXAMPLE / "test_mine.py"), cwd=tmp_path)
    assert "1 passed" in tests
    grid = ("--optimizer", "mine:sigma=1", "--budget", "6", "--shots", "1", "--seeds", "1")
    said = run(installed, *craft_zoo, "bench", *grid, "--out", "out", cwd=tmp_path)
    assert "craft (mine:sigma=1)" in said
    assert (tmp_path / "out" / "curves.png").exists()
