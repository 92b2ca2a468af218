"""With one shot a class, the refiner of a search is fitted to the initial answer too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo.blackbox import Meter
from craft_zoo.blackbox.base import BlackBox
from craft_zoo.craft import ConvexObjective, RefinerFitter
from craft_zoo.refiner import choose_sum, fit

FIRST = np.array([[3, 1, 0], [2, 1, 2], [1, 0, 0]], np.float32)
SECOND = np.array([[5, 1, 0], [0, 4, 1], [0, 1, 3]], np.float32)


class Answers:
    """A model whose only query is the initial prompt."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def score(self, *_: object) -> np.ndarray:
        return self.logits


def refined(first: np.ndarray, second: np.ndarray, *, initial_answer: bool) -> np.ndarray:
    """(N, 3) refined ``second``, with the initial answer ``first`` to N / 3 shots a class."""
    labels, meter = np.arange(len(first)) % 3, Meter(2, 3)
    fitter = RefinerFitter(labels=labels, discriminant=True, initial_answer=initial_answer)
    objective = ConvexObjective(fitter, meter=meter, refit_queries=1)
    search: BlackBox = Answers(first)  # type: ignore[assignment]
    objective.begin(search, None, "")  # type: ignore[arg-type]
    meter.charge(1, len(labels), "search")
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
