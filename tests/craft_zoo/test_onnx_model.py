"""ONNX Runtime computes from an exported adapter what craft-zoo does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo.adapter import Adapter
from craft_zoo.anchors import Anchors
from craft_zoo.cli.main import main
from craft_zoo.errors import CraftZooError
from craft_zoo.local_features import LocalClassifier
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.refiner.network import Refiner
from craft_zoo.solution import Solution

onnxruntime = pytest.importorskip("onnxruntime")

CLASSES, ANCHORS, FEATURES, IMAGES = ("cat", "dog", "annual crop land"), 4, 5, 50
RNG = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def logits_of(count: int) -> np.ndarray:
    """As a CLIP model's: far from 0, near one another."""
    return 25 + 3 * drawn(IMAGES, count)


WORDS = Anchors(("fur", "leaf"), ("a {}.", "the {}."))
CONVEX = ConvexRefiner(drawn(3, 3), drawn(3))
ANCHORED = ConvexRefiner(drawn(3 + ANCHORS, 3), drawn(3))
LOCAL = LocalClassifier("colours", drawn(FEATURES, 3), drawn(3))


@pytest.mark.parametrize(
    "solution",
    [
        Solution("a photo of a {}."),
        Solution(drawn(3, 4, 8), CONVEX),
        Solution(drawn(4, 8), Refiner(3, hidden=16, seed=5)),
        Solution("{}", ANCHORED, WORDS),
        Solution(("a {}", "b {}", "c {}"), ANCHORED, WORDS, LOCAL),
    ],
    ids=repr,
)
def test_equal_to_craft_zoo(solution: Solution, tmp_path: Path) -> None:
    adapter = Adapter(solution, CLASSES, "the model", (), temperature=1.7)
    adapter.to_onnx(tmp_path / "refiner.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "refiner.onnx")
    inputs = {"logits": logits_of(3)}
    if solution.anchors is not None:
        inputs["anchors"] = logits_of(ANCHORS)
    for given in inputs.values():
        given[0] = 0  # a service refused to answer about the image
    local = None
    if solution.local is not None:
        inputs["features"] = drawn(IMAGES, FEATURES)
        local = inputs["features"] @ LOCAL.weight + LOCAL.bias
    refined, probabilities = session.run(["refined", "probabilities"], inputs)
    expected = solution.refine(inputs["logits"], inputs.get("anchors"), local)
    np.testing.assert_allclose(refined, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(probabilities, adapter.probabilities(expected), atol=1e-5)
    about = json.loads(session.get_modelmeta().custom_metadata_map["craft_zoo"])
    assert about["classnames"] == list(CLASSES)
    assert about["model"] == "the model"
    words = not isinstance(solution.prompt, np.ndarray)
    assert about["template"] == (json.loads(json.dumps(solution.prompt)) if words else None)


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    Adapter(Solution("{}", CONVEX), CLASSES, "the model", ()).save(tmp_path / "a")
    assert main(["export", str(tmp_path / "a"), "--onnx", str(tmp_path / "a.onnx")]) == 0
    assert onnxruntime.InferenceSession(tmp_path / "a.onnx").get_outputs()[1].shape == ["N", 3]
    assert main(["export", str(tmp_path / "a"), "--onnx", str(tmp_path / "no" / "a.onnx")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_without_onnx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    adapter = Adapter(Solution("{}", CONVEX), CLASSES, "the model", ())
    with pytest.raises(
        CraftZooError, match=r"needs the package onnx: pip install 'craft-zoo\[onnx"
    ):
        adapter.to_onnx(tmp_path / "a.onnx")
