"""Features computed on this machine: extractors, the classifier on them, and its fusion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import load_vlm
from craft_zoo.blackbox.base import ImageSet
from craft_zoo.cli import main
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Dataset, Task, few_shot
from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError
from craft_zoo.local_features import (
    LocalClassifier,
    extract,
    fit_classifiers,
    fused,
    register_features,
    registry,
)
from craft_zoo.methods import Problem, get_method
from craft_zoo.openclip import OpenCLIP
from craft_zoo.tuning import tune

BOTH = CraftConfig(local="colours+hog", discriminant=False)


@pytest.fixture
def extractors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes extractors that the test registers."""
    registry.REGISTRY.load()
    for name in ("items", "_sources"):
        monkeypatch.setattr(registry.REGISTRY, name, dict(getattr(registry.REGISTRY, name)))


def given(vlm: OpenCLIP, *images: np.ndarray) -> ImageSet:
    return vlm.images(list(images))


def test_features_of_a_grey_image_and_of_one_edge(tiny_vlm: OpenCLIP) -> None:
    grey = np.full((64, 64, 3), 51, np.uint8)
    edge = grey.copy()
    edge[:, 32:] = 102
    colours, hog = extract("colours+hog", given(tiny_vlm, grey, edge))
    assert colours.shape == (2, 27)
    assert hog.shape == (2, 128)
    assert colours[0] == pytest.approx([0.2] * 15 + [0] * 12)
    assert colours[1, :15] == pytest.approx([0.2, 0.2, 0.3, 0.4, 0.4] * 3)
    assert colours[1, 15:18] == pytest.approx([0, 0, 0])
    # At each of two columns of 64, half the step of 0.2 between their neighbours.
    assert colours[1, 18] == pytest.approx(np.sqrt(0.1))
    assert not hog[0].any()
    of_cells = hog[1].reshape(4, 4, 8)
    assert (of_cells[:, 1:3].argmax(axis=2) == 0).all()  # horizontal gradients
    assert not of_cells[:, [0, 3]].any()


def test_features_are_computed_once_for_the_images_of_a_model(
    tiny_vlm: OpenCLIP, extractors: None
) -> None:
    calls = []

    @register_features("brightness")
    def brightness(images: Sequence[ImageSource]) -> np.ndarray:
        calls.append(len(images))
        return np.array([[np.asarray(open_image(image)).mean()] for image in images])

    images = given(tiny_vlm, np.full((8, 8, 3), 10, np.uint8), np.full((8, 8, 3), 30, np.uint8))
    for _ in range(2):
        assert extract("brightness", images)[0].ravel().tolist() == [10, 30]
    assert calls == [2]


@pytest.mark.parametrize(
    ("found", "shape"),
    [
        ([[], []], r"\(2, 0\)"),
        ([1.0, 2.0], r"\(2,\)"),
        ([[1.0]], r"\(1, 1\)"),
        ([[1.0], [np.nan]], ""),
    ],
)
def test_what_an_extractor_returns_is_checked(
    tiny_vlm: OpenCLIP, extractors: None, found: list[float], shape: str
) -> None:
    register_features("mine")(lambda images: np.array(found))
    with pytest.raises(CraftZooError, match=rf"local features mine of 2 images.*{shape}"):
        extract("mine", given(tiny_vlm, *[np.zeros((8, 8, 3), np.uint8)] * 2))


def test_what_an_extractor_raises_is_one_sentence(tiny_vlm: OpenCLIP, extractors: None) -> None:
    register_features("mine")(lambda images: 1 / 0)
    with pytest.raises(CraftZooError, match=r"mine cannot be computed \(ZeroDivisionError: "):
        extract("mine", given(tiny_vlm, np.zeros((8, 8, 3), np.uint8)))


def test_unknown_features_are_named_before_anything_is_asked(
    vlm: OpenCLIP, small_task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CraftZooError, match="did you mean 'hog'"):
        tune(vlm, small_task, method="anchors", config=CraftConfig(local="colours+hogg"))
    assert main(["tune", "digits", "--local", "sift", "--out", "/tmp/none.adapter"]) == 2
    assert "unknown extractor of local features 'sift'" in capsys.readouterr().err


def test_models_of_timm_and_open_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_vlm: OpenCLIP
) -> None:
    import timm

    made = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, **how: made(name, **how | {"pretrained": False})
    )
    images = given(tiny_vlm, *[np.full((40, 30, 3), value, np.uint8) for value in (0, 250)])
    (found,) = extract("timm:test_vit", images)
    assert found.shape == (2, 64)
    assert not np.allclose(found[0], found[1])
    (mini,) = extract("openclip:craft-mini", images)
    vlm = load_vlm("craft-mini")
    assert np.array_equal(mini, vlm.features(vlm.images(images.sources)))
    with pytest.raises(CraftZooError, match="timm cannot load the model 'no_such_model'"):
        extract("timm:no_such_model", images)


def test_the_fusion_is_a_weighted_sum_of_logits(digits: Dataset, tiny_vlm: OpenCLIP) -> None:
    task = few_shot(digits, shots=4, seed=1)
    images = tiny_vlm.images(task.train.images)
    experts = fit_classifiers(extract("colours+hog", images), task.train.labels, 10)
    noise = np.random.default_rng(0).standard_normal((40, 10)).astype(np.float32)
    weight, classifier, calibration = fused("colours+hog", experts, task.train.labels, noise)
    assert weight < 0.5  # the answers are noise, in place of a weight of 1
    assert classifier.held_out is not None
    assert min(classifier.held_out) > 0.6
    features = extract("colours+hog", images)
    each = [x @ expert.weight + expert.bias for x, expert in zip(features, experts, strict=True)]
    logits = classifier.logits(images)
    scales, *_ = np.linalg.lstsq(np.stack([part.ravel() for part in each]).T, logits.ravel())
    assert logits == pytest.approx(np.tensordot(scales, each, 1), abs=1e-3)
    assert scales.min() >= -1e-3
    held_out = [expert.held_out for expert in experts]
    assert calibration == pytest.approx(np.tensordot(scales, held_out, 1), abs=1e-3)
    right = np.eye(10, dtype=np.float32)[task.train.labels] * 20
    weight, *_ = fused("colours+hog", experts, task.train.labels, right)
    assert weight > 0.5


def test_two_images_a_class_with_local_features_are_not_far_too_sure(
    digits: Dataset, tiny_vlm: OpenCLIP
) -> None:
    """The cross-entropy of new images was 3.6 nats."""
    task = few_shot(digits, shots=2, seed=1)
    adapter = tune(tiny_vlm, task, method="refine", config=CraftConfig(local="colours+hog")).adapter
    probabilities = adapter.predict(tiny_vlm, task.test.images[:200])
    right = probabilities[np.arange(200), task.test.labels[:200]]
    assert -np.log(np.maximum(right, 1e-30)).mean() < np.log(10)


@pytest.mark.slow
def test_methods_with_local_features_are_at_least_the_better_half(
    vlm: OpenCLIP, digits: Dataset
) -> None:
    task = few_shot(digits, shots=4, seed=1)
    test = vlm.images(task.test.images[:300])
    right = {}
    for method, local in (("refine", ""), ("local", "colours+hog"), ("refine", "colours+hog")):
        problem = Problem.open(
            vlm, task.classnames, task.train, budget=1, seed=1, config=CraftConfig(local=local)
        )
        *_, step = get_method(method)(problem)
        logits = step.solution.logits(problem.box, test)
        right[method, local] = (logits.argmax(1) == task.test.labels[:300]).mean()
        assert problem.meter.queries == (method != "local")
    assert right["refine", "colours+hog"] > right["refine", ""] + 0.3
    assert right["refine", "colours+hog"] > right["local", "colours+hog"] - 0.02


@pytest.mark.parametrize("method", ["refine", "craft", "craft-anchors", "craft-hard"])
def test_local_features_are_saved_in_the_adapter(
    tiny_vlm: OpenCLIP, small_task: Task, tmp_path: Path, method: str
) -> None:
    tuned = tune(tiny_vlm, small_task, method=method, budget=6, config=BOTH)
    tuned.adapter.save(tmp_path / "digits.adapter")
    loaded = Adapter.load(tmp_path / "digits.adapter")
    assert loaded.solution.local is not None
    assert loaded.solution.local.features == "colours+hog"
    images = small_task.test.images
    answers = tuned.adapter.predict(tiny_vlm, images)
    assert loaded.predict(tiny_vlm, images) == pytest.approx(answers, abs=1e-5)
    assert DeployedAdapter(loaded, tiny_vlm).predict(tiny_vlm.images(images)) == pytest.approx(
        answers, abs=1e-5
    )
    raw, anchors, local = loaded.ask(tiny_vlm, images)
    assert local is not None
    assert not np.allclose(
        loaded.solution.refine(raw, anchors), loaded.solution.refine(raw, anchors, local)
    )


def test_a_classifier_of_other_features_is_not_applied(tiny_vlm: OpenCLIP) -> None:
    classifier = LocalClassifier("hog", np.zeros((27, 3), np.float32), np.zeros(3, np.float32))
    with pytest.raises(CraftZooError, match="128 numbers here and were 27"):
        classifier.logits(given(tiny_vlm, np.zeros((8, 8, 3), np.uint8)))


@pytest.mark.parametrize("found", [[[1.0], [1.0, 2.0]], [["a"], ["b"]]])
def test_features_that_are_no_array_are_refused(
    found: list[list[object]], tiny_vlm: OpenCLIP, extractors: None
) -> None:
    register_features("mine")(lambda images: found)  # type: ignore[arg-type,return-value]
    with pytest.raises(CraftZooError, match="rows of unequal lengths"):
        extract("mine", given(tiny_vlm, *np.zeros((2, 8, 8, 3), np.uint8)))
