"""The optimizers, data sets, and clients of served models work without the extra ``torch``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "lean" / "without_torch.py"
BLOCKED = f"""
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "open_clip", "timm"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""


def test_without_torch(server: Any, tmp_path: Path) -> None:
    """In this environment imports are blocked; .ci/run names a Python that has no torch."""
    lean = os.environ.get("CRAFT_ZOO_LEAN_PYTHON")
    command = [lean, str(SCRIPT)] if lean else [sys.executable, "-c", BLOCKED]
    done = subprocess.run(
        [*command, server.url, str(tmp_path)],
        env={**os.environ, "CRAFT_ZOO_API_KEY": "secret"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
