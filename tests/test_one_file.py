"""One file adds one thing: dropped into its folder, it is listed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    "optimizers/standing.py": """
import numpy as np
from craft_zoo.optimizers import Optimizer, register

@register("standing")
class Standing(Optimizer):
    "Stays where it is."

    def _ask(self):
        return np.zeros((1, self.dim))

    def _tell(self, candidates, losses, outputs=None):
        pass

    def recommend(self):
        return np.zeros(self.dim)
""",
    "data/two_colours.py": """
import numpy as np
from craft_zoo.data.load import register_dataset
from craft_zoo.data.task import Dataset, LabelledImages

@register_dataset("two-colours")
def load_two_colours(request):
    "Red and blue squares."
    images = [np.full((8, 8, 3), c, np.uint8) for c in ((255, 0, 0), (0, 0, 255))] * 4
    part = LabelledImages(images, np.array([0, 1] * 4))
    return Dataset("two-colours", ("red", "blue"), part, part)
""",
    "methods/nothing.py": """
from craft_zoo.methods.base import register_method
from craft_zoo.methods.zero_shot import zero_shot
from craft_zoo.optimizers.option import Option

LOUD = Option("loud", int, 1)

@register_method("nothing", uses_optimizer=False, settings=(), own=[LOUD])
def nothing(problem):
    "Leaves the model as it comes."
    print("loudness", problem.own("nothing.loud"))
    return zero_shot(problem)
""",
    "client/echo.py": """
from craft_zoo.blackbox.load import register_model

@register_model("echo:", over_network=False)
def open_echo(spec):
    "A model of the test."
    raise ValueError("opened")
""",
    "methods/broken.py": "import a_package_that_there_is_not",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the files above."""
    folder = tmp_path_factory.mktemp("tree")
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "craft_zoo", folder / "craft_zoo", ignore=without)
    for name in ("optimizers", "benchmarks"):
        shutil.copytree(ROOT / name, folder / "craft_zoo" / name, ignore=without)
    for name, text in FILES.items():
        (folder / "craft_zoo" / name).write_text(text)
    return folder


def run(tree: Path, *arguments: str) -> str:
    code = "import sys, craft_zoo; print(craft_zoo.__file__, file=sys.stderr);"
    code += "from craft_zoo.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200"},
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(tree) in done.stderr.splitlines()[0]
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("command", "name", "about"),
    [
        ("optimizers", "standing", "Stays where it is."),
        ("datasets", "two-colours", "Red and blue squares."),
        ("methods", "nothing", "Leaves the model as it comes."),
        ("models", "echo:", "A model of the test"),
        ("methods", "broken", "a_package_that_there_is_not"),
    ],
)
def test_a_file_is_found_by_itself(tree: Path, command: str, name: str, about: str) -> None:
    line = next(line for line in run(tree, command).splitlines() if line.strip().startswith(name))
    assert about in line


def test_what_was_dropped_in_works_together(tree: Path) -> None:
    grid = ("--dataset", "two-colours", "--method", "nothing", "--method", "prompt")
    few = ("--optimizer", "standing", "--shots", "1", "--seeds", "1", "--budget", "3")
    said = run(tree, "bench", *grid, *few, "--set", "nothing.loud=3", "--out", "out")
    assert "prompt (standing)" in said
    assert "loudness 3" in said
    # A setting of its own counts in the runs of this method alone.
    said = run(tree, "bench", *grid, *few, "--out", "out")
    assert "loudness 1" in said
    assert "1 of 2 runs were in out already" in said
    assert "nothing: nothing.loud=1" in run(tree, "methods")
