"""Types of the public API: mypy reports misuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import craft_zoo as cz

vlm = cz.load_vlm("craft-mini")
task = cz.few_shot(cz.load_dataset("digits"), shots=16, seed=1)
cz.tune(vlm, task, method="craft", budget=2000)
cz.tune(vlm, 3, budget=2000)
cz.tune(vlm, task, budgt="x")
cz.load_vlm("craft-mini", devise="cpu")
cz.few_shots(task)
"""


@pytest.mark.slow
def test_mypy_reports_what_is_wrong(tmp_path: Path) -> None:
    # mypy does not follow editable installs.
    package = tmp_path / "path" / "craft_zoo"
    package.parent.mkdir()
    package.mkdir()
    for entry in (ROOT / "craft_zoo").iterdir():
        (package / entry.name).symlink_to(entry)
    for name in ("optimizers", "benchmarks"):
        (package / name).symlink_to(ROOT / name)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "script.py"],
        env=os.environ | {"MYPYPATH": str(package.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    reported = [line for line in done.stdout.splitlines() if line.startswith("script.py:")]
    lines = {int(line.split(":")[1]) for line in reported if "error" in line}
    assert lines == {7, 8, 9, 10}, done.stdout + done.stderr
