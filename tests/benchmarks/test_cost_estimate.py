"""A run never makes more queries or predictions than a dry run announces as the most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from craft_zoo.benchmarks import Bench, Plan, RunStore, estimate_costs
from craft_zoo.cli import main
from craft_zoo.methods import find_method, method_names
from craft_zoo.openclip import OpenCLIP

SMALL: dict[str, dict[str, Any]] = {  # settings with which a step takes few queries
    "bar": {"bar.batch": 4},
    "blackvip": {"blackvip.encoder": "colours", "blackvip.batch": 4},
    "blackvip-se": {"blackvip-se.batch": 4},
    "cbbt": {"cbbt.directions": 9, "cbbt.batch": 4},
    "sharpzo": {"sharpzo.dim": 4, "sharpzo.popsize": 4},
    "zip": {"zip.batch": 4},
}
ASKING = [  # those that ask the model, and need no language model, file or sold vectors
    name
    for name in method_names()
    if not find_method(name).white_box
    and not find_method(name).pays
    and name not in ("descriptions", "vectors", "lfa", "local")
]


@pytest.fixture(scope="module")
def twelve_classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of two training images and a test image of each class; a rehearsal has ten."""
    root, rng = tmp_path_factory.mktemp("twelve"), np.random.default_rng(0)
    for number in range(12):
        for part, count in (("train", 2), ("test", 1)):
            folder = root / part / f"class {number}"
            folder.mkdir(parents=True)
            for place in range(count):
                pixels = rng.integers(20 * number, 20 * number + 30, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{place}.png")
    return f"folder:{root}"


def most_and_made(vlm: OpenCLIP, store: Path, **plan: Any) -> tuple[dict, dict]:
    """Counts of one run by name: those that are announced, and those that are made."""
    runs = list(Plan.of({"shots": 2, "seeds": 1} | plan).runs())
    table = estimate_costs(runs)
    [[*_, end]] = Bench(vlm, RunStore(store)).run(runs).values()
    made = {
        "queries": end.queries,
        "predictions": end.search_predictions + end.refiner_predictions,
        "evaluation": end.evaluation_predictions,
    }
    return table[list(made)].iloc[0].to_dict(), made


@pytest.mark.parametrize("method", ASKING)
def test_a_method_makes_at_most_what_is_announced(
    tiny_vlm: OpenCLIP, tmp_path: Path, twelve_classes: str, method: str
) -> None:
    settings = SMALL.get(method, {})
    if "discriminant" in find_method(method).settings:
        settings = settings | {"discriminant": False}
    plan = {"methods": method, "budgets": 41, "settings": settings}
    most, made = most_and_made(tiny_vlm, tmp_path, datasets=twelve_classes, **plan)
    for name, count in made.items():
        assert count <= most[name] <= 1.3 * count, name


@pytest.mark.parametrize(
    ("method", "optimizer", "budget", "settings"),
    [
        ("craft", "spsa", 30, {}),
        ("craft", "powell", 40, {"refit_queries": 3}),
        ("craft-anchors", "nevergrad:OnePlusOne", 47, {"anchors": 60, "anchor_bank": "spread"}),
        ("craft-anchors", "spsa", 47, {"anchors": 3, "anchor_bank": "information"}),
        ("craft-hard", "hill-climb", 47, {"refit_queries": 1}),
    ],
)
@pytest.mark.parametrize("dataset", ["digits", "twelve"])
def test_a_search_is_measured_at_most_as_often_as_is_announced(
    tiny_vlm: OpenCLIP,
    tmp_path: Path,
    twelve_classes: str,
    dataset: str,
    method: str,
    optimizer: str,
    budget: int,
    settings: dict[str, Any],
) -> None:
    """The refiner's own queries, which depend on losses, leave fewer for the search."""
    plan = {"methods": method, "optimizers": optimizer, "budgets": budget}
    plan["settings"] = settings | {"discriminant": False, "intrinsic_dim": 5}
    plan["datasets"] = twelve_classes if dataset == "twelve" else dataset
    most, made = most_and_made(tiny_vlm, tmp_path, **plan)
    assert made["evaluation"] <= most["evaluation"]


def test_the_views_of_a_network_refiner_are_counted_by_its_epochs(
    tiny_vlm: OpenCLIP, tmp_path: Path, twelve_classes: str
) -> None:
    settings = {"refiner": "network", "hidden": 4, "epoch_queries": 7, "views": 2}
    plan = {"methods": "craft", "optimizers": "spsa-clip", "budgets": 90, "settings": settings}
    most, made = most_and_made(tiny_vlm, tmp_path, datasets=twelve_classes, **plan)
    assert made["predictions"] <= most["predictions"] <= 1.1 * made["predictions"]


@pytest.mark.usefixtures("tiny_craft_mini")
@pytest.mark.parametrize("command", ["tune", "bench"])
@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("bbt", "smaller than one generation"),
        ("cbbt", "a step of cbbt takes 257 queries"),
        ("sharpzo", "a generation of sharpzo takes"),
        ("zip", "smaller than one generation"),
        ("anchors", "leaves nothing for anchors"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would_refuse(
    command: str,
    method: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--method", method, "--budget", "1", "--shots", "1", "--dry-run"]
    data = {"tune": ["digits"], "bench": ["--dataset", "digits"]}[command]
    assert main([command, *data, *given, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
