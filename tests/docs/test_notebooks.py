"""The notebooks of the documentation run, and show what they did when they were written."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    before = [_shown(cell) for cell in notebook.cells]
    assert any(before)
    folder = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=600, coalesce_streams=True, kernel_name="python3", resources=folder
    ).execute()
    assert [_shown(cell) for cell in notebook.cells] == before


def _shown(cell: dict[str, Any]) -> list[str]:
    """The kinds of a cell's outputs, without warnings."""
    outputs = cell.get("outputs", ())
    return [each["output_type"] for each in outputs if each.get("name") != "stderr"]
