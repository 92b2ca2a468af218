"""Which anchors are kept: by what they tell, whatever constant an image's logits have."""

from __future__ import annotations

import numpy as np

from craft_zoo.anchors import highest_variance, most_informative


def logits(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(60, 20) of which the columns 3 and 7 vary most and 11 and 15 follow the labels."""
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
