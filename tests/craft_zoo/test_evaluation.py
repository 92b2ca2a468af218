"""Evaluation of adapters: accuracy, classes, calibration, abstaining."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

import craft_zoo as cz
from craft_zoo.blackbox import BlackBox, ImageSet, Prompts, WrappedBlackBox, WrappedVLM
from craft_zoo.errors import CraftZooError
from craft_zoo.evaluation import Evaluation, evaluate, expected_usage
from craft_zoo.metrics import calibration_error, interval
from craft_zoo.openclip import OpenCLIP


def evaluation(probabilities: list[list[float]], labels: list[int]) -> Evaluation:
    logits = np.log(np.array(probabilities, dtype=np.float32))
    names = tuple("abcdef"[: logits.shape[1]])
    return Evaluation(names, np.array(labels), logits, logits[:, ::-1])


def test_accuracy_classes_and_confusion_by_hand() -> None:
    found = evaluation([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], [0, 1, 1, 1])
    assert (found.accuracy, found.zero_shot_accuracy) == (0.75, 0.25)
    assert found.interval == interval(3, 4)
    assert found.confusion.tolist() == [[1, 0], [1, 2]]
    first, second = found.classes
    assert (first.recall, first.precision, first.taken_for) == (1.0, 0.5, None)
    assert (second.recall, second.precision, second.taken_for) == (2 / 3, 1.0, "a")
    # Two bins of two images: confidence 0.65 and accuracy 0.5; confidence 0.85 and accuracy 1.
    assert calibration_error(found.probabilities, found.labels, bins=2) == pytest.approx(0.0)
    by_hand = (abs(0.6 - 0) + abs(0.7 - 1) + abs(0.8 - 1) + abs(0.9 - 1)) / 4
    assert found.calibration_error == pytest.approx(by_hand)


def test_a_refused_image_is_given_no_class() -> None:
    found = evaluation([[0.9, 0.1], [1, 1], [1, 1], [0.3, 0.7], [0.6, 0.4]], [0, 0, 1, 1, 1])
    assert found.predicted.tolist() == [0, -1, -1, 1, 0]
    assert (found.accuracy, found.zero_shot_accuracy) == (0.4, 0.2)
    assert found.accuracy_of_all == 0.4
    assert found.interval == interval(2, 5)
    assert found.confusion.tolist() == [[1, 0], [1, 1]]
    assert [(each.images, each.correct) for each in found.classes] == [(2, 1), (3, 1)]
    assert found.mistakes.tolist() == [4]
    # The refused images would have a confidence of 0.5.
    assert found.calibration_error == pytest.approx((0.1 + 0.3 + 0.6) / 3)
    assert evaluation([[1, 1], [1, 1]], [0, 1]).calibration_error == 0


def test_abstaining_keeps_the_surest() -> None:
    found = evaluation([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], [0, 1, 1, 1])
    kept = found.abstain(0.75)
    assert (kept.coverage, kept.accuracy) == (0.75, 1.0)
    assert kept.threshold == pytest.approx(0.7)
    assert found.abstain(1).accuracy == found.accuracy
    assert found.abstain(0.01).coverage == 0.25
    for share in (0, -0.5, 1.1, float("nan")):
        with pytest.raises(CraftZooError, match="coverage"):
            found.abstain(share)


@given(st.lists(st.floats(0.001, 0.99999), min_size=1, max_size=30), st.floats(0.01, 1))
def test_the_threshold_that_is_shown_keeps_the_surest(sure: list[float], share: float) -> None:
    found = evaluation([[each, 1 - each] for each in sure], [0] * len(sure))
    kept = found.abstain(share)
    above = found.probabilities.max(axis=1) >= float(kept.threshold_text)
    assert above.mean() >= kept.coverage
    assert kept.threshold - float(kept.threshold_text) < 1.1e-4


@given(
    st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(0, 1)), min_size=1, max_size=30),
    st.integers(1, 20),
)
def test_the_calibration_error_is_a_distance_in_bounds(
    answers: list[tuple[float, int]], bins: int
) -> None:
    probabilities = np.array([[p, 1 - p] for p, _ in answers])
    labels = np.array([label for _, label in answers])
    error = calibration_error(probabilities, labels, bins)
    overall = probabilities.max(axis=1) - (probabilities.argmax(axis=1) == labels)
    assert abs(overall.mean()) - 1e-9 <= error <= np.abs(overall).mean() + 1e-9


def test_a_sum_is_of_both_sets_of_images() -> None:
    one, two = evaluation([[0.9, 0.1]], [0]), evaluation([[0.9, 0.1], [0.8, 0.2]], [1, 1])
    assert len(one + two) == 3
    assert (one + two).accuracy == pytest.approx(1 / 3)
    assert str(one + one) == "100.0 % (95 % interval 34.2 to 100.0), zero-shot 0.0 %"


class Counting(WrappedVLM):
    """Counts the (prompt, image) pairs that are asked."""

    asked = 0

    def classifier(self, classnames, init="a photo of a") -> BlackBox:
        return _Counted(self._vlm.classifier(classnames, init), self)

    def independent(self, texts, init="a photo of a") -> BlackBox:
        return self.classifier(texts, init)


class _Counted(WrappedBlackBox):
    def __init__(self, box: BlackBox, owner: Counting) -> None:
        super().__init__(box)
        self._owner = owner

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        self._owner.asked += len(prompts) * len(images)
        return self._box.logits(prompts, images)


@pytest.mark.parametrize(("method", "prompts"), [("refine", 2), ("prompt", 2), ("anchors", 3)])
def test_it_costs_what_is_said_and_agrees_with_predict(
    tiny_vlm: OpenCLIP, image_folder: Path, method: str, prompts: int
) -> None:
    dataset = cz.load_dataset(f"folder:{image_folder}")
    task = cz.few_shot(dataset, shots=1, seed=1)
    adapter = cz.tune(tiny_vlm, task, method=method, budget=20).adapter
    counting = Counting(tiny_vlm)
    assert expected_usage(adapter, counting, dataset.test).predictions == 9 * prompts
    found = evaluate(adapter, counting, dataset)
    assert counting.asked == 9 * prompts
    np.testing.assert_allclose(
        found.probabilities, adapter.predict(tiny_vlm, dataset.test.images), atol=1e-6
    )
    assert evaluate(adapter, tiny_vlm, task).accuracy == found.accuracy
    assert evaluate(adapter, tiny_vlm, dataset.test).accuracy == found.accuracy
    plain = cz.tune(tiny_vlm, task, method="zero-shot").adapter
    assert evaluate(plain, tiny_vlm, dataset).accuracy == found.zero_shot_accuracy


def test_answers_that_are_no_numbers_are_no_predictions(
    tiny_vlm: OpenCLIP, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = cz.load_dataset(f"folder:{image_folder}")
    adapter = cz.tune(tiny_vlm, cz.few_shot(dataset, shots=1, seed=1), method="zero-shot").adapter
    monkeypatch.setattr(_Counted, "logits", lambda *_: iter([np.full((9, 3), np.nan)]))
    for ask in (
        lambda: adapter.predict(Counting(tiny_vlm), dataset.test.images),
        lambda: evaluate(adapter, Counting(tiny_vlm), dataset),
    ):
        with pytest.raises(CraftZooError, match="NaN or infinite logits: check its weights"):
            ask()


def test_labels_beyond_the_classes_are_refused(tiny_vlm: OpenCLIP, image_folder: Path) -> None:
    dataset = cz.load_dataset(f"folder:{image_folder}")
    adapter = cz.tune(tiny_vlm, cz.few_shot(dataset, 1, seed=1), method="zero-shot").adapter
    wrong = cz.LabelledImages(dataset.test.images[:1], np.array([3]))
    with pytest.raises(CraftZooError, match="label 3 is none of the adapter's 3 classes"):
        evaluate(adapter, tiny_vlm, wrong)
    with pytest.raises(CraftZooError, match="no test images"):
        evaluate(adapter, tiny_vlm, dataset.test.take(np.zeros(0, np.int64)))
    with pytest.raises(CraftZooError, match="not on str: open one"):
        evaluate(adapter, tiny_vlm, "folder:pets")  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_the_temperature_calibrates(factor: float) -> None:
    """Labels are drawn from probabilities; the logits are those times a factor."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal((4000, 5))
    labels = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    scaled = (factor * logits).astype(np.float32)
    found = Evaluation(tuple("abcde"), labels.clip(0, 4), scaled, scaled)
    calibrated = replace(found, temperature=found.fit_temperature())
    assert calibrated.temperature == pytest.approx(factor, rel=0.1)
    assert calibrated.calibration_error < 0.03
    assert calibrated.accuracy == found.accuracy
    if factor != 1:
        assert calibrated.calibration_error < found.calibration_error / 2


def test_a_wrong_label_hardly_changes_the_temperature() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    logits = rng.standard_normal((30, 3)).astype(np.float32)
    logits[np.arange(30), labels] += 3
    right = Evaluation(tuple("abc"), labels, logits, logits).fit_temperature()
    logits[0] = 60 * np.eye(3)[1]  # sure of another class than that of the label
    wrong = Evaluation(tuple("abc"), labels, logits, logits).fit_temperature()
    assert right < wrong < 2


def test_few_images_say_little_about_the_temperature() -> None:
    found = evaluation([[0.6, 0.4], [0.3, 0.7]], [0, 1])  # all right: the best would be 0
    assert 0.8 < found.fit_temperature() < 1


@pytest.mark.parametrize("n_images", [6, 12, 24])
def test_few_images_that_are_all_right_do_not_make_an_adapter_certain(n_images: int) -> None:
    labels = np.arange(n_images) % 3
    logits = 30 * np.eye(3, dtype=np.float32)[labels]
    assert 1.5 < Evaluation(tuple("abc"), labels, logits, logits).fit_temperature() < 4
