"""Images that are classified together: the classifier, its file, and the commands."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import craft_zoo as cz
from craft_zoo.adapter import Adapter
from craft_zoo.anchors import Anchors
from craft_zoo.cli.main import main
from craft_zoo.data import LabelledImages
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError
from craft_zoo.evaluation import evaluate
from craft_zoo.openclip import OpenCLIP
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.refiner.transductive import TransductiveClassifier
from craft_zoo.solution import Solution

NAMES = ("red", "green", "blue")


def softmax(row: list[float]) -> list[float]:
    total = sum(np.exp(row))
    return [float(np.exp(each) / total) for each in row]


def by_hand(known: TransductiveClassifier, logits: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The formulas of docs/method.md, image by image, without the last factor."""
    n, c = logits.shape
    x = [row - row.mean() for row in anchors.astype(np.float64)]
    weight = [count * max(4, n / (10 * c)) for count in known.images]
    width = np.std([row - row.mean() for row in logits])
    gaussian = logits.astype(np.float64)
    for _ in range(6):
        p = [softmax(list(logits[i] + gaussian[i])) for i in range(n)]
        means = [
            (weight[k] * known.means[k] + sum(p[i][k] * x[i] for i in range(n)))
            / (weight[k] + sum(p[i][k] for i in range(n)))
            for k in range(c)
        ]
        cov = sum(
            p[i][k] * np.outer(x[i] - means[k], x[i] - means[k]) for i in range(n) for k in range(c)
        )
        cov = np.asarray(cov) / n
        m = len(cov)
        cov = cov / 2 + np.eye(m) * np.trace(cov) / m / 2
        inverse = np.linalg.inv(cov)
        raw = np.array(
            [
                [-(x[i] - means[k]) @ inverse @ (x[i] - means[k]) / 2 for k in range(c)]
                for i in range(n)
            ]
        )
        raw -= raw.mean(axis=1, keepdims=True)
        sizes = [sum(p[i][k] for i in range(n)) for k in range(c)]
        gaussian = raw * width / raw.std() + [np.log(4 + c * each / n) / 2 for each in sizes]
    share = 1 / (1 + np.mean(known.images) / 8 + 5 * c / n + c / m)
    mixed = (1 - share) * logits + share * (gaussian + known.log_prior)
    return mixed - mixed.mean(axis=1, keepdims=True)


def task(
    seed: int, images: int = 90, classes: int = 3, anchors: int = 64, distance: float = 10.0
) -> tuple[TransductiveClassifier, np.ndarray, np.ndarray, np.ndarray]:
    """A classifier from one training image a class; logits, anchors and labels of new images.

    The logits are distances from the training images, which some directions of noise spoil.
    """
    rng = np.random.default_rng(seed)
    means = distance * rng.standard_normal((classes, anchors)) / np.sqrt(anchors)
    noise = np.r_[np.full(anchors // 4, 3.0), np.full(anchors - anchors // 4, 0.5)]
    train = means + noise * rng.standard_normal((classes, anchors))
    labels = np.arange(images) % classes
    asked = means[labels] + noise * rng.standard_normal((images, anchors))
    asked, train = asked.astype(np.float32), train.astype(np.float32)
    prior = np.zeros(classes, np.float32)
    known = TransductiveClassifier.of(train, np.arange(classes), prior)
    far = np.square(asked[:, None] - train[None]).sum(axis=2)
    return known, (-3 * far / far.std()).astype(np.float32), asked, labels


def centred(logits: np.ndarray) -> np.ndarray:
    return logits - logits.mean(axis=1, keepdims=True)


@pytest.mark.parametrize(("images", "prior"), [(7, (0, 0, 0)), (200, (-0.5, -1.5, -2.0))])
def test_the_logits_are_those_of_the_formulas(images: int, prior: tuple[float, ...]) -> None:
    known, logits, anchors, _ = task(0, images)
    known = replace(known, log_prior=np.array(prior, np.float32))
    found, expected = centred(known.logits(logits, anchors)), by_hand(known, logits, anchors)
    factor = float((found * expected).sum() / np.square(expected).sum())
    assert factor > 0
    np.testing.assert_allclose(found, factor * expected, atol=1e-4 * np.abs(found).max())


def test_many_images_together_are_classified_better_and_as_surely() -> None:
    alone, together = [], []
    for seed in range(10):
        known, logits, anchors, labels = task(seed)
        found = known.logits(logits, anchors)
        alone.append((logits.argmax(axis=1) == labels).mean())
        together.append((found.argmax(axis=1) == labels).mean())
        sure = [np.exp(each - each.max(axis=1, keepdims=True)) for each in (logits, found)]
        before, after = (float((1 / each.sum(axis=1)).mean()) for each in sure)
        assert after == pytest.approx(before, abs=1e-3)
    assert np.mean(together) > np.mean(alone) + 0.08
    assert min(np.subtract(together, alone)) > -0.02


def test_images_of_one_class_alone_are_not_spread_over_all() -> None:
    for seed in range(5):
        known, logits, anchors, labels = task(seed, 300)
        own = labels == seed % 3
        alone = (logits[own].argmax(axis=1) == labels[own]).mean()
        together = (known.logits(logits[own], anchors[own]).argmax(axis=1) == labels[own]).mean()
        assert together > alone - 0.02


@given(seed=st.integers(0, 100), images=st.integers(1, 30), shift=st.floats(-50, 50))
def test_neither_order_nor_a_number_added_to_all_logits_matters(
    seed: int, images: int, shift: float
) -> None:
    known, logits, anchors, _ = task(seed, images)
    found = centred(known.logits(logits, anchors))
    order = np.random.default_rng(seed).permutation(images)
    moved = known.logits(logits[order] + np.float32(shift), anchors[order] - np.float32(shift))
    np.testing.assert_allclose(centred(moved), found[order], atol=1e-3)


@pytest.mark.parametrize("images", [1, 2, 50])
def test_equal_answers_about_all_images_stay_finite(images: int) -> None:
    known, logits, anchors, _ = task(0, images)
    for one in (logits, np.zeros_like(logits)):
        for asked in (np.zeros_like(anchors), np.repeat(anchors[:1], images, axis=0), anchors):
            assert np.isfinite(known.logits(one, asked)).all()


@pytest.fixture
def colours(tiny_vlm: OpenCLIP, tiny_craft_mini: None, image_folder: Path, tmp_path: Path) -> Path:
    """An adapter with anchors."""
    data = cz.few_shot(cz.load_dataset(f"folder:{image_folder}"), shots=2, seed=1)
    config = cz.CraftConfig(anchors=12)
    adapter = cz.tune(tiny_vlm, data, method="anchors", budget=20, config=config).adapter
    adapter.model, adapter.temperature = "craft-mini", 2000.0
    adapter.save(tmp_path / "colours.adapter")
    return tmp_path / "colours.adapter"


def test_an_adapter_with_anchors_classifies_together(
    colours: Path, tiny_vlm: OpenCLIP, image_folder: Path
) -> None:
    adapter = Adapter.load(colours)
    known = adapter.check_transductive()
    data = cz.few_shot(cz.load_dataset(f"folder:{image_folder}"), shots=2, seed=1)
    assert adapter.solution.anchors is not None
    shots = adapter.ask(tiny_vlm, data.train.images)
    assert shots[1] is not None
    expected = TransductiveClassifier.of(shots[1], data.train.labels, np.zeros(3, np.float32))
    for name in ("means", "images", "log_prior"):
        np.testing.assert_allclose(getattr(known, name), getattr(expected, name), atol=1e-5)
    test = data.test.images
    answers = adapter.ask(tiny_vlm, test)
    together = known.logits(adapter.solution.refine(*answers) / 2000, answers[1])
    found = adapter.predict(tiny_vlm, test, transductive=True)
    np.testing.assert_allclose(found, adapter.probabilities(2000 * together), atol=1e-6)
    alone = adapter.predict(tiny_vlm, test)
    assert np.abs(found - alone).max() > 1e-3
    server = DeployedAdapter(adapter, tiny_vlm).predict(tiny_vlm.images(test))
    np.testing.assert_allclose(server, alone, atol=1e-5)  # which answers one by one
    evaluation = evaluate(adapter, tiny_vlm, data.test, transductive=True)
    np.testing.assert_allclose(evaluation.probabilities, found, atol=1e-6)


def test_the_prior_of_the_tuning_is_kept(tiny_vlm: OpenCLIP, image_folder: Path) -> None:
    data = cz.few_shot(cz.load_dataset(f"folder:{image_folder}"), shots=2, seed=1)
    config = cz.CraftConfig(anchors=12, prior="0.2,0.3,0.5")
    adapter = cz.tune(tiny_vlm, data, method="anchors", budget=20, config=config).adapter
    prior = np.exp(adapter.check_transductive().log_prior)
    np.testing.assert_allclose(prior, [0.2, 0.3, 0.5], rtol=1e-5)


def test_a_limit_for_the_deployed_image_keeps_the_means_of_its_anchors(
    tiny_vlm: OpenCLIP, image_folder: Path
) -> None:
    data = cz.few_shot(cz.load_dataset(f"folder:{image_folder}"), shots=2, seed=1)
    config = cz.CraftConfig(anchors=12, per_image=3)
    adapter = cz.tune(tiny_vlm, data, method="anchors", budget=20, config=config).adapter
    assert adapter.check_transductive().means.shape == (3, 6)
    found = adapter.predict(tiny_vlm, data.test.images, transductive=True)
    assert np.isfinite(found).all()


def test_predict_and_evaluate_classify_together(
    colours: Path,
    tiny_vlm: OpenCLIP,
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("craft_zoo.cli.predict._BATCH", 2)
    shutil.copytree(image_folder / "test", tmp_path / "new")
    broken = tmp_path / "new" / "a_broken.png"
    broken.write_bytes(b"no image")
    out = tmp_path / "rows.csv"
    words = ["predict", str(colours), str(tmp_path / "new"), "--out", str(out), "--skip-bad"]
    assert main([*words, "--transductive"]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    images = [row["image"] for row in rows]
    assert len(images) == 9
    assert str(broken) not in images
    adapter = Adapter.load(colours)
    expected = adapter.predict(tiny_vlm, images, transductive=True)
    assert [row["class"] for row in rows] == [
        adapter.classnames[i] for i in expected.argmax(axis=1)
    ]
    assert [float(row["probability"]) for row in rows] == pytest.approx(
        expected.max(axis=1).tolist(), abs=1e-3
    )
    capsys.readouterr()
    folder, card = tmp_path / "worth", tmp_path / "card.html"
    words = ["evaluate", str(colours), f"folder:{image_folder}", "--out", str(folder)]
    assert main([*words, "--card", str(card), "--transductive"]) == 0
    assert "classified together" in capsys.readouterr().out
    assert json.loads((folder / "evaluation.json").read_text())["transductive"]
    assert "classified together" in card.read_text()


def test_adapters_that_cannot_say_so_before_a_model_is_asked(
    tiny_vlm: OpenCLIP, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = tiny_vlm.classifier(NAMES)
    anchors = Anchors(("sea", "wood"), ("a photo of a {}.",))
    refiner = ConvexRefiner(np.ones((3 + 2, 3), np.float32), np.ones(3, np.float32))
    for number, solution in enumerate(
        (Solution(box.initial_prompt), Solution(box.initial_prompt, refiner, anchors))
    ):
        path = tmp_path / f"{number}.adapter"
        adapter = Adapter.of(solution, tiny_vlm, box)
        adapter.save(path)
        with pytest.raises(CraftZooError, match="cannot classify images together"):
            adapter.predict(tiny_vlm, [], transductive=True)
        with pytest.raises(CraftZooError, match="cannot classify images together"):
            evaluate(adapter, tiny_vlm, LabelledImages([], np.zeros(0)), transductive=True)
        for command in ("predict", "evaluate"):
            assert main([command, str(path), str(tmp_path), "--transductive"]) == 2
            assert "(--transductive)" in capsys.readouterr().err
