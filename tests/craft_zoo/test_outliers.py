"""Wrong rows of a response are replaced before a search learns from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompts
from craft_zoo.blackbox.wrappers import WrappedBlackBox
from craft_zoo.craft.outliers import OutlierFilter, outliers
from craft_zoo.data import Task
from craft_zoo.methods import Problem, get_method
from craft_zoo.openclip import OpenCLIP

IMAGES, CLASSES = 6, 4


class Given(BlackBox):
    """Returns prepared responses."""

    accepts = frozenset({"contexts", "texts"})
    initial_context = np.zeros((1, 1), np.float32)
    classnames = tuple("abcd")

    def __init__(self, answers: np.ndarray) -> None:
        self.left = iter(answers)

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        return (next(self.left) for _ in range(len(prompts)))


def filtered(answers: np.ndarray, *sizes: int) -> tuple[OutlierFilter, np.ndarray]:
    box = OutlierFilter(Given(answers))
    images = ImageSet([""] * answers.shape[1], None)  # type: ignore[arg-type]
    blocks = [box.logits(np.zeros((size, 1, 1), np.float32), images) for size in sizes]
    return box, np.stack([answer for block in blocks for answer in block])


def moving(count: int, seed: int = 0) -> np.ndarray:
    """(count, IMAGES, CLASSES) responses to contexts that move in small steps."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0.5, 1.0, (count, IMAGES, CLASSES)) * rng.choice([-1, 1], CLASSES)
    rows = np.array([[4, 0, 1, -2], [0, 3, -1, 5], [2, -4, 1, 0]] * 2)
    return (rows + 0.1 * steps).astype(np.float32)


def test_rows_far_from_the_others() -> None:
    rows = np.array([[3.0, -3.0], [1.0, -1.0], [-2.0, 2.0], [2.0, -2.0]])
    changes = np.array([[0.1, -0.1], [4.0, -4.0], [-0.1, 0.1], [0.4, -0.4]])
    assert outliers(changes, rows).tolist() == [False, True, False, False]
    assert not outliers(np.sign(changes), rows).any(), "all have moved"
    assert not outliers(changes / 10, rows).any(), "hardly anything has moved"
    added = np.array([[7.0], [0.0], [0.0], [0.0]])
    assert not outliers(0.1 * np.sign(changes) + added, rows).any(), "added to all classes"


def test_a_permuted_row_is_replaced_by_the_median_and_what_all_have_moved() -> None:
    answers = moving(12)
    expected = answers.copy()
    answers[4, 1] = answers[4, 1, [3, 2, 1, 0]]
    answers[9, 2] = answers[9, 2, [1, 0, 3, 2]]
    for sizes in ((12,), (1, 5, 6), (1,) * 12):
        box, found = filtered(answers, *sizes)
        assert box.replaced == 2
        assert np.abs(found - expected).max() < 0.2
        wrong = np.zeros((12, IMAGES), bool)
        wrong[4, 1] = wrong[9, 2] = True
        assert np.array_equal(found[~wrong], answers[~wrong])


def test_answers_to_words_and_the_first_two_pass() -> None:
    answers = moving(4)
    answers[1, 0] = answers[1, 0, ::-1]
    box, found = filtered(answers, 1, 1)
    assert np.array_equal(found, answers[:2])
    box = OutlierFilter(Given(answers))
    words = box.logits(["a photo of a {}."] * 4, ImageSet([], None))  # type: ignore[arg-type]
    assert np.array_equal(np.stack(list(words)), answers)


def test_a_large_task_keeps_few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("craft_zoo.craft.outliers._BYTES", 1)
    answers = moving(12)
    answers[7, 1] = answers[7, 1, ::-1]
    box, _ = filtered(answers, 12)
    assert box.replaced == 1
    assert len(box._latest) == 3


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 100), st.integers(0, 30))
def test_correct_answers_are_returned_as_they_are(seed: int, size: float, first: int) -> None:
    """Whatever their size and however the queries are grouped."""
    answers = (size * moving(31, seed)).astype(np.float32)
    box, found = filtered(answers, first, 31 - first)
    assert box.replaced == 0
    assert np.array_equal(found, answers)


class Wrong(WrappedBlackBox):
    """Permutes 5 % of the rows."""

    def __init__(self, box: BlackBox) -> None:
        super().__init__(box)
        self.rng = np.random.default_rng(1)

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        for answer in self._box.logits(prompts, images):
            wrong = self.rng.random(len(answer)) < 0.05
            permuted = self.rng.permuted(answer, axis=1)
            yield np.where(wrong[:, None], permuted, answer)


@pytest.mark.slow
def test_a_search_learns_from_wrong_answers_nearly_what_it_learns_from_correct_ones(
    tiny_vlm: OpenCLIP, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(wrong: bool) -> float:
        given = small_task.classnames, small_task.train
        problem = Problem.open(tiny_vlm, *given, budget=101, seed=1)
        problem.box = Wrong(problem.box) if wrong else problem.box
        return list(get_method("craft")(problem))[-1].loss

    correct, corrected = loss(wrong=False), loss(wrong=True)
    monkeypatch.setattr("craft_zoo.craft.loop.OutlierFilter", lambda box: box)
    assert loss(wrong=False) == correct
    assert corrected < correct + 0.1 < loss(wrong=True)
