"""The refiners that a search uses, and the one that is deployed with what it finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo.blackbox import Meter
from craft_zoo.blackbox.base import BlackBox
from craft_zoo.craft import ConvexObjective, RefinerFitter
from craft_zoo.losses import cross_entropy
from craft_zoo.refiner import choose_sum, fit
from craft_zoo.tensors import tensor

FIRST = np.array([[3, 1, 0], [2, 1, 2], [1, 0, 0]], np.float32)
SECOND = np.array([[5, 1, 0], [0, 4, 1], [0, 1, 3]], np.float32)


class Answers:
    """A model whose only query is the initial prompt."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def score(self, *_: object) -> np.ndarray:
        return self.logits


def begun(first: np.ndarray, meter: Meter, *, initial_answer: bool = True) -> ConvexObjective:
    """An objective with the initial answer ``first`` (N, C), to N / C shots a class."""
    labels = np.arange(len(first)) % first.shape[1]
    fitter = RefinerFitter(
        labels=labels, classnames=(), discriminant=True, initial_answer=initial_answer
    )
    objective = ConvexObjective(fitter, meter=meter, refit_queries=1)
    search: BlackBox = Answers(first)  # type: ignore[assignment]
    objective.begin(search, None, "")  # type: ignore[arg-type]
    return objective


def refined(first: np.ndarray, second: np.ndarray, *, initial_answer: bool) -> np.ndarray:
    """(N, 3) refined ``second``, with the initial answer ``first`` to N / 3 shots a class."""
    meter = Meter(2, 3)
    objective = begun(first, meter, initial_answer=initial_answer)
    meter.charge(1, len(first), "search")
    objective.update("", second)
    return objective.refine(second)


def test_the_refiner_is_fitted_to_both_answers() -> None:
    labels = np.arange(3)
    regularization = choose_sum(FIRST, labels)
    both = fit(np.concatenate([FIRST, SECOND]), np.tile(labels, 2), regularization=regularization)
    latest = fit(SECOND, labels, regularization=regularization)
    found = refined(FIRST, SECOND, initial_answer=True)
    assert np.allclose(found, both.refine(SECOND), atol=1e-3)
    found = refined(FIRST, SECOND, initial_answer=False)
    assert np.allclose(found, latest.refine(SECOND), atol=1e-3)
    assert not np.allclose(both.refine(SECOND), latest.refine(SECOND), atol=1e-2)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_it_says_nothing_new_if_nothing_has_moved_or_with_two_shots(seed: int) -> None:
    first, second = np.random.default_rng(seed).standard_normal((2, 6, 3)).astype(np.float32)
    for one, other in ((first[:3], first[:3]), (first, second)):
        found = refined(one, other, initial_answer=True)
        assert np.allclose(found, refined(one, other, initial_answer=False), atol=1e-2)


@pytest.mark.parametrize("seed", range(4))
def test_a_search_of_two_classes_does_not_invert_what_is_deployed(seed: int) -> None:
    """Logits without any information: a logistic regression alone may invert them by chance."""
    labels = np.arange(16) % 2
    logits = np.random.default_rng(seed).standard_normal((16, 2)).astype(np.float32)
    objective = begun(logits, Meter(2, 2))
    _, gradient = objective.output_loss(np.arange(16))(logits)
    step = np.float32(0.01 / np.linalg.norm(gradient)) * gradient

    def deployed(returned: np.ndarray) -> float:
        return float(cross_entropy(tensor(objective.refine(returned)), tensor(labels)))

    assert deployed(logits - step) < deployed(logits)
