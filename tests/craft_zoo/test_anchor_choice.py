"""Choice of anchors by their information, invariant to a constant added to an image's logits."""

from __future__ import annotations

import numpy as np

from craft_zoo.anchors import Anchors, highest_variance, keep_best, most_informative
from craft_zoo.anchors.choice import most_explanatory


def logits(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(60, 20) logits: columns 3 and 7 vary most, and 11 and 15 follow the labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), 20)
    values = rng.standard_normal((60, 20))
    values[:, [3, 7]] *= 5
    values[:, [11, 15]] = labels[:, None] + 0.1 * values[:, [11, 15]]
    return values, labels


def test_those_that_vary_most() -> None:
    values, _ = logits(1)
    assert set(highest_variance(values, 2)) == {3, 7}
    shifted = values + 100 * np.random.default_rng(2).standard_normal((60, 1))
    assert np.array_equal(highest_variance(shifted, 5), highest_variance(values, 5))


def test_those_that_tell_the_labels() -> None:
    values, labels = logits(1)
    assert set(most_informative(values, labels, 2)) == {11, 15}


def test_with_one_image_a_class_there_is_nothing_to_choose_by() -> None:
    values, _ = logits(1)
    assert list(most_informative(values[:3], np.arange(3), 4)) == [0, 1, 2, 3]


def test_those_that_explain_most_do_not_repeat_one_another() -> None:
    """Column 11 comes twice: its copy explains nothing more, 5 tells what the classes leave."""
    values, labels = logits(1)
    rng = np.random.default_rng(3)
    values[:, 15] = values[:, 11]
    values[:, 5] = (labels == 1) + 0.3 * rng.standard_normal(60)
    of_classes = rng.standard_normal((60, 3))
    first, second = most_explanatory(values, of_classes, labels, 2)
    assert (first, second) == (11, 5)
    assert set(most_informative(values, labels, 2)) == {11, 15}
    # What the class logits say already is not worth an anchor.
    known = np.stack([values[:, 11], -values[:, 11], np.zeros(60)], axis=1)
    assert most_explanatory(values, known, labels, 1)[0] == 5


def test_choosing_one_by_one_is_the_regression_with_the_least_loss() -> None:
    """Each step against all regressions on one more column, solved anew."""
    values, labels = logits(4)
    of_classes = np.random.default_rng(5).standard_normal((60, 3))
    x = np.concatenate([each - each.mean(1, keepdims=True) for each in (of_classes, values)], 1)
    x -= x.mean(0)
    x /= np.sqrt(np.square(x).sum(1).mean())
    y = np.eye(3)[labels] - 1 / 3

    def loss(columns: list[int]) -> float:
        some = x[:, [0, 1, 2, *(3 + column for column in columns)]]
        weight = np.linalg.solve(some.T @ some + 0.1 * np.eye(some.shape[1]), some.T @ y)
        return float(np.square(y - some @ weight).sum() + 0.1 * np.square(weight).sum())

    chosen: list[int] = []
    for column in most_explanatory(values, of_classes, labels, 6):
        others = [each for each in range(20) if each not in chosen]
        assert column == min(others, key=lambda each: loss([*chosen, each]))
        chosen.append(int(column))


def test_anchors_in_several_prompts_stay_with_all_their_texts() -> None:
    values, labels = logits(1)
    contexts = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    asked = Anchors(("a", "b", "c", "d"), contexts)
    of_classes = np.random.default_rng(5).standard_normal((60, 3))
    kept, left = keep_best(asked, values, of_classes, labels, 8)
    assert kept.prompts.ravel().tolist() == [2, 3]  # type: ignore[union-attr]  # 11 and 15
    assert kept.texts == asked.texts
    assert np.array_equal(left, values[:, 8:16])
    assert keep_best(asked, values, of_classes, labels, 20)[0] is asked
