"""The study: its plan, tables, measurements and command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from craft_zoo.adapter import Adapter, Solution
from craft_zoo.benchmarks import Point, RunSpec, study, tidy
from craft_zoo.blackbox import load_vlm
from craft_zoo.cli.main import main
from craft_zoo.data import Dataset
from craft_zoo.methods import method_names
from craft_zoo.openclip import OpenCLIP
from craft_zoo.refiner import ConvexRefiner


def tasks(folder: Path) -> list[study.StudyTask]:
    return [study.StudyTask("digits"), study.StudyTask(f"folder:{folder}")]


def points(method: str, seed: int, *curve: tuple[int, float], shots: int = 16) -> pd.DataFrame:
    run = RunSpec("m", "folder:a/b", None, method, "none", shots, seed, 100)
    about = {"train_accuracy": 1.0, "loss": 0.0, "seconds": 2.0}
    about |= {"search_predictions": 1, "refiner_predictions": 0, "evaluation_predictions": 0}
    return tidy({run: [Point(queries=q, accuracy=a, **about) for q, a in curve]})  # type: ignore[arg-type]


def test_the_plan_has_every_method_on_contexts_but_the_slow_one(image_folder: Path) -> None:
    grid = study.main_grid("m", tasks(image_folder), seeds=[1, 2], budget=8000)
    assert len(grid) == len(set(grid)) == 2 * 3 * 2 * len(study.METHODS)
    assert {run.method for run in grid} == set(method_names()) - {
        *("prompt", "hard", "craft-hard"),
        study.SLOW_METHOD,
    }
    assert {run.optimizer for run in grid} == {"logit-gn", "none"}
    ablations = study.ablation_grid("m", tasks(image_folder), shots=16, seeds=[1, 2], budget=8000)
    assert len(ablations) == 2 * 2 * len(study.ABLATIONS)
    assert {run.budget for run in ablations} == {2000}
    assert study.shortened(grid[0], 5).budget == 5


def test_accuracies_are_read_off_the_mean_curve() -> None:
    table = study.accuracy_table(
        pd.concat(
            [
                points("craft-released", 1, (0, 0.1), (50, 0.5), (100, 0.6)),
                points("craft-released", 2, (0, 0.1), (40, 0.3), (100, 0.8)),
                points("refine", 1, (0, 0.1), (1, 0.7)),
                points("refine", 2, (0, 0.1), (1, 0.75)),
                points("zip", 1, (0, 0.1), (100, 0.2)),
                points("zip", 2, (0, 0.1), (100, 0.2)),
            ]
        ),
        16,
        marks=(1, 45, 500),
    ).set_index("method")
    assert list(table.index) == ["refine", "craft-released", "zip"]  # by area
    assert list(table.loc["refine", ["1", "45", "100"]]) == pytest.approx([72.5, 72.5, 72.5])
    assert list(table.loc["craft-released", ["1", "45", "100"]]) == pytest.approx([10, 20, 70])
    assert table.loc["refine", "reaches"] == 1
    assert table.loc["craft-released", "reaches"] == 100
    assert np.isnan(table.loc["zip", "reaches"])


def test_the_worst_single_run_is_told() -> None:
    table = study.shots_table(
        pd.concat(
            [
                points("zero-shot", 1, (0, 0.3), shots=1),
                points("zero-shot", 2, (0, 0.3), shots=1),
                points("refine", 1, (0, 0.3), (1, 0.5), shots=1),
                points("refine", 2, (0, 0.3), (1, 0.25), shots=1),
                points("zero-shot", 1, (0, 0.3)),
                points("refine", 1, (0, 0.3), (1, 0.9)),
            ]
        )
    ).set_index("method")
    assert table.loc["refine", ["1", "16", "worst"]].tolist() == pytest.approx([37.5, 90, -5])
    assert table.loc["zero-shot", "worst"] == 0


def test_markdown_rounds_and_leaves_out_what_is_missing() -> None:
    table = pd.DataFrame({"a": ["x", "y"], "b": [1.26, np.nan], "c": [1000, 2]})
    assert study.markdown(table).splitlines() == [
        *("| a | b | c |", "| --- | --: | --: |", "| x | 1.3 | 1,000 |", "| y |  | 2 |")
    ]


def test_a_client_needs_a_small_part_of_the_models_memory(
    vlm: OpenCLIP, digits: Dataset, tmp_path: Path
) -> None:
    box = vlm.classifier(digits.classnames)
    refiner = ConvexRefiner(np.zeros((10, 10), np.float32), np.zeros(10, np.float32))
    path = tmp_path / "adapter.safetensors"
    Adapter.of(Solution(box.initial_context, refiner), vlm, box).save(path)
    images = digits.test.images[:16]
    (row,) = study.measure_deployment({"a": path}, lambda: load_vlm("craft-mini"), images).to_dict(
        "records"
    )
    assert row["adapter"] == path.stat().st_size / 2**20
    assert row["client"] >= row["adapter"]
    assert np.isnan(row["white_box"]) or row["white_box"] > 20  # its weights alone
    assert np.isnan(row["ratio"]) or row["ratio"] >= 80


def test_the_command_makes_the_page_and_goes_on(image_folder: Path, tmp_path: Path) -> None:
    command = [
        *("study", "--dataset", f"folder:{image_folder}", "--seeds", "1", "--budget", "50"),
        *("--shots", "1", "--shots", "2", "--method", "zero-shot", "--method", "craft"),
        *("--method", "anchors", "--method", "coop", "--out", str(tmp_path)),
    ]
    assert main(command) == 0
    page = (tmp_path / "study.md").read_text(encoding="utf-8")
    for heading in (
        "## 2 shots",
        "## 1 shots",
        "## Ablations",
        "## Memory and time",
        "## Deployed",
    ):
        assert heading in page
    for picture in re.findall(r"\]\((.+?)\)", page):
        assert (tmp_path / picture).stat().st_size > 10_000
    for table in ("accuracy-2-shots", "shots", "ablations", "costs", "deployment", "curves"):
        assert len(pd.read_csv(tmp_path / f"{table}.csv"))
    records = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/run.json")}
    assert len(json.loads((tmp_path / "config.json").read_text())["runs"]) == len(records)
    assert main(command) == 0
    assert records == {path: path.stat().st_mtime_ns for path in records}
