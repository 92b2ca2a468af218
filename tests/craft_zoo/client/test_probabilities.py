"""Logarithms of probabilities that a service has rounded or truncated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from craft_zoo.blackbox import VLM, Journal, ReplayVLM
from craft_zoo.client import from_callable
from craft_zoo.client.probabilities import UNROUNDED, decimals_of, log_of
from craft_zoo.data import Task
from craft_zoo.openclip import OpenCLIP
from craft_zoo.tuning import tune


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [1, 2, 3, 4, 5, 6, UNROUNDED])
def test_decimals_are_found(decimals: int, dtype: type) -> None:
    exact = np.random.default_rng(0).dirichlet(np.ones(10), 20)
    assert decimals_of(exact.round(decimals).astype(dtype)) == decimals


@pytest.mark.parametrize("few", [[1.0, 0.0], [0.3, 0.7], [0.25, 0.25, 0.5]])
def test_few_probabilities_do_not_show_one_or_two_decimals(few: list[float]) -> None:
    assert decimals_of(np.array(few)) is None
    np.testing.assert_allclose(np.exp(log_of(np.array([[*few, 0.0]]), None))[0, -1], 0.0005)


def test_a_rounded_zero_is_half_of_the_last_decimal() -> None:
    rounded = np.array([[0.996, 0.004, 0.0], [0.25, 0.25, 0.5]])
    np.testing.assert_allclose(np.exp(log_of(rounded, 3)[0]), [0.996, 0.004, 0.0005], rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_of(np.array([[0.9, 0.1, 0]]), 1)[0, 2]), 0.05, rtol=1e-6)
    unrounded = np.array([[1 / 3, 2 / 3, 0.0]])
    np.testing.assert_allclose(np.exp(log_of(unrounded, UNROUNDED)[0, 2]), 5e-13, rtol=1e-4)


def test_a_model_that_is_almost_certain_does_not_round() -> None:
    answers = np.array([[1 - 2e-8, 1e-8, 1e-8], [1.0, 3e-11, 0.0]])
    assert decimals_of(answers) == UNROUNDED
    np.testing.assert_allclose(np.exp(log_of(answers[:1], UNROUNDED)), answers[:1], rtol=1e-4)


def test_what_is_missing_is_shared_by_the_zeros() -> None:
    exact = np.array([[1 / 3, 1 / 6, 1 / 7, 0.0, 0.0, 0.0], [0.9, 0.01, 0.0, 0.0, 0.0, 0.0]])
    found = np.exp(log_of(exact, UNROUNDED))
    missing = 1 - exact[0].sum()
    np.testing.assert_allclose(found[0, 3:], min(missing / 3, 1 / 7), rtol=1e-5)
    np.testing.assert_allclose(found[1, 2:], 0.01, rtol=1e-5)
    certain = np.exp(log_of(np.array([[1.0, 0.0], [0.5, 0.5]]), 3))
    np.testing.assert_allclose(certain, [[1, 0.0005], [0.5, 0.5]], rtol=1e-5)


def test_methods_lose_little_by_rounding(vlm: OpenCLIP, small_task: Task) -> None:
    def ask(decimals: int) -> VLM:
        def answer(prompts: list[str], images: list[object]) -> np.ndarray:
            names = [prompt.removeprefix("a photo of a ").removesuffix(".") for prompt in prompts]
            box = vlm.classifier(names)
            logits = box.score(box.initial_context, vlm.images(images))
            whole = np.exp(logits - logits.max(axis=1, keepdims=True))
            return (whole / whole.sum(axis=1, keepdims=True)).round(decimals)

        return from_callable(answer, answers="probabilities")

    logits = []
    for decimals in (3, 12):
        model = ask(decimals)
        tuned = tune(model, small_task, method="zero-shot", budget=5)
        logits.append(tuned.adapter.ask(model, small_task.test.images[:50])[0])
    assert logits[0].min() > -8
    assert np.abs(logits[0] - logits[1])[logits[1] > -6].max() < 0.3


def test_images_of_all_calls_of_a_query_are_answered_alike(small_task: Task) -> None:
    """Two probabilities of an image do not show the number of decimals, those of five do."""
    rows = iter([[1.0, 0.0], [0.9, 0.1], [0.7, 0.3], [0.8, 0.2]])
    model = from_callable(lambda *_: [next(rows)], answers="probabilities", batch=1)
    logits = model.classifier(["a", "b"]).score("a {}", model.images(small_task.train.images[:4]))
    assert model.decimals == 1
    assert np.exp(logits[0, 1]) == pytest.approx(0.05)


def test_a_resumed_run_knows_the_decimals_of_recorded_answers(
    small_task: Task, tmp_path: Path
) -> None:
    def percent(prompts: list[str], images: list[object]) -> np.ndarray:
        return np.random.default_rng(0).dirichlet(np.ones(len(prompts)), len(images)).round(2)

    known = from_callable(percent, answers="probabilities")
    known.note_decimals(2)  # by an earlier run
    for model in (known, from_callable(lambda *_: pytest.fail("asked"), answers="probabilities")):
        with Journal(tmp_path / "journal") as journal:
            box = (vlm := ReplayVLM(model, journal)).classifier(["a", "b", "c"])
            for prompt in ("a {}", "the {}"):
                box.score(prompt, vlm.images(small_task.train.images))
        assert vlm.decimals == model.decimals == 2


def test_one_image_is_answered_as_many_were(vlm: OpenCLIP, small_task: Task) -> None:
    """Ten probabilities of an image may not show how many decimals there are, an adapter does."""

    def percent(prompts: list[str], images: list[object]) -> np.ndarray:
        names = [prompt.removeprefix("a photo of a ").removesuffix(".") for prompt in prompts]
        box = vlm.classifier(names)
        logits = 30 * box.score(box.initial_context, vlm.images(images))
        whole = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (whole / whole.sum(axis=1, keepdims=True)).round(2)

    def model() -> VLM:
        return from_callable(percent, answers="probabilities")

    adapter = tune(model(), small_task, method="refine", budget=1).adapter
    assert adapter.decimals == 2
    images = small_task.test.images[:20]
    together, _, _ = adapter.ask(model(), images)
    alone = np.concatenate([adapter.ask(model(), [image])[0] for image in images])
    np.testing.assert_array_equal(alone, together)
    assert np.exp(together.min()) == pytest.approx(0.005)
