"""A file dropped into its folder adds an optimizer, data set, method or model."""

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
from craft_zoo.methods.registry import register_method
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

@register_model("echo:")
def open_echo(spec):
    "A model of the test."
    raise ValueError("opened")
""",
    "local_features/bright.py": """
import numpy as np
from craft_zoo.local_features import register_features

@register_features("bright")
def bright(images):
    "Mean of each image."
    return np.array([[np.mean(image)] for image in images])
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


LISTED = {
    "optimizers": [("standing", "Stays where it is.")],
    "datasets": [("two-colours", "Red and blue squares.")],
    "methods": [
        ("nothing", "Leaves the model as it comes."),
        ("broken", "a_package_that_there_is_not"),
    ],
    "models": [("echo:", "A model of the test")],
}
SCRIPT = """
import sys, craft_zoo
from craft_zoo.cli import main
print(craft_zoo.__file__)
for words in (line.split() for line in sys.argv[1:]):
    print("ran", *words)
    assert main(words) == 0, words
"""


@pytest.mark.slow
def test_a_file_is_found_by_itself_and_works_with_others(tree: Path) -> None:
    grid = "--dataset two-colours --method nothing --method prompt --optimizer standing"
    bench = f"bench {grid} --shots 1 --seeds 1 --budget 3 --out out"
    loud = f"{bench} --set nothing.loud=3"
    bright = "bench --dataset two-colours --method local --local bright --seeds 1 --out out"
    bright += " --shots 3"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *LISTED, bright, loud, bench],
        env=os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200"},
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, *said = done.stdout.split("ran ")
    assert str(tree) in where
    for (command, things), lines in zip(LISTED.items(), said, strict=False):
        assert lines.startswith(command)
        for name, about in things:
            line = next(line for line in lines.splitlines() if line.strip().startswith(name))
            assert about in line
    assert "nothing: nothing.loud=1" in said[2]
    assert "prompt (standing)" in said[-2]
    assert "local" in said[-3]
    assert "loudness 3" in said[-2]
    # A setting of its own counts in the runs of this method alone.
    assert "loudness 1" in said[-1]
    assert "1 of 2 runs were in out already" in said[-1]
