"""Memory and time of methods, and memory of a deployed client."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from craft_zoo.adapter import Adapter
from craft_zoo.benchmarks import costs
from craft_zoo.blackbox import load_vlm
from craft_zoo.data import Dataset
from craft_zoo.openclip import OpenCLIP
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.solution import Solution


def test_a_client_needs_a_small_part_of_the_models_memory(
    vlm: OpenCLIP, digits: Dataset, tmp_path: Path
) -> None:
    box = vlm.classifier(digits.classnames)
    refiner = ConvexRefiner(np.zeros((10, 10), np.float32), np.zeros(10, np.float32))
    path = tmp_path / "adapter.safetensors"
    Adapter.of(Solution(box.initial_context, refiner), vlm, box).save(path)
    images = digits.test.images[:16]
    (row,) = costs.measure_deployment({"a": path}, lambda: load_vlm("craft-mini"), images).to_dict(
        "records"
    )
    assert row["adapter"] == path.stat().st_size / 2**20
    assert row["client"] >= row["adapter"]
    assert np.isnan(row["white_box"]) or row["white_box"] > 20  # its weights alone
    assert np.isnan(row["ratio"]) or row["ratio"] >= 80


@pytest.mark.usefixtures("tiny_craft_mini")
def test_both_tables_are_printed(image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["--method", "refine", "--method", "zero-shot", "--shots", "1", "--budget", "5"]
    costs.main(["--dataset", f"folder:{image_folder}", *grid])
    printed = capsys.readouterr().out
    assert "megabytes" in printed
    assert "white_box" in printed
    assert printed.count("refine") == 2
