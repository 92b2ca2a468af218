"""The meter: counts queries, refuses those over the budget, and checks responses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.blackbox import BlackBox, BudgetExceeded, ImageSet, Meter
from craft_zoo.errors import CraftZooError


class Images(ImageSet):
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n


class Box(BlackBox):
    """Returns given logits, and records the number of contexts of each query."""

    accepts = frozenset({"contexts"})
    classnames = ("a", "b", "c")
    initial_context = np.zeros((2, 4), np.float32)

    def __init__(self, answer: np.ndarray | None = None, drop: int = 0) -> None:
        self.asked, self._answer, self._drop = 0, answer, drop

    def logits(self, contexts: np.ndarray, images: ImageSet) -> Iterator[np.ndarray]:
        self.asked += len(contexts)
        good = np.zeros((len(images), 3), np.float32)
        for _ in range(len(contexts) - self._drop):
            yield good if self._answer is None else self._answer


def contexts(n: int) -> np.ndarray:
    return np.zeros((n, 2, 4), np.float32)


@given(
    budget=st.integers(0, 60),
    requests=st.lists(
        st.tuples(
            st.sampled_from(["search", "refiner", "evaluation"]),
            st.integers(0, 20),
            st.integers(1, 9),
        )
    ),
)
def test_counts_are_what_was_asked_and_never_exceed_the_budget(budget, requests) -> None:
    meter = Meter(budget)
    box = Box()
    queries, predictions = 0, {"search": 0, "refiner": 0, "evaluation": 0}
    asked = 0
    for purpose, n, images in requests:
        metered = meter.wrap(box, purpose)
        if purpose == "search" and queries + n > budget:
            with pytest.raises(BudgetExceeded):
                metered.logits(contexts(n), Images(images))
        else:
            assert len(list(metered.logits(contexts(n), Images(images)))) == n
            asked += n
            queries += n if purpose == "search" else 0
            predictions[purpose] += n * images
    assert box.asked == asked
    assert meter.queries == queries <= budget
    assert meter.remaining == budget - queries
    assert {purpose: meter.predictions[purpose] for purpose in predictions} == predictions


def test_a_refused_query_reaches_nobody() -> None:
    meter, box = Meter(5), Box()
    with pytest.raises(BudgetExceeded, match="exceed the budget of 5"):
        meter.wrap(box, "search").logits(contexts(6), Images(1))
    assert box.asked == 0
    assert meter.queries == 0


def test_questions_are_charged_when_asked_not_when_read() -> None:
    meter = Meter(5)
    meter.wrap(Box(), "search").logits(contexts(3), Images(7))
    assert meter.queries == 3
    assert meter.predictions["search"] == 21


def test_without_a_budget_everything_is_counted_and_nothing_refused() -> None:
    meter = Meter()
    meter.wrap(Box(), "search").logits(contexts(10_000), Images(1))
    assert meter.queries == 10_000
    assert meter.remaining > 10**12


def test_negative_budget() -> None:
    with pytest.raises(CraftZooError, match="must not be negative"):
        Meter(-1)


def test_wrong_context_shape() -> None:
    with pytest.raises(CraftZooError, match=r"give \(P, 2, 4\)"):
        Meter(5).wrap(Box(), "search").logits(np.zeros((1, 4, 2), np.float32), Images(1))


def test_contexts_that_are_not_finite() -> None:
    with pytest.raises(CraftZooError, match="a context holds NaN"):
        Meter(5).wrap(Box(), "search").logits(np.full((1, 2, 4), np.nan), Images(1))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\) instead of \(5, 3\)"),
        (np.full((5, 3), np.nan), "NaN or infinite logits"),
        (np.full((5, 3), np.inf), "NaN or infinite logits"),
    ],
)
def test_bad_answers(answer: np.ndarray, message: str) -> None:
    with pytest.raises(CraftZooError, match=message):
        list(Meter(5).wrap(Box(answer), "search").logits(contexts(1), Images(5)))


def test_missing_answers() -> None:
    with pytest.raises(CraftZooError, match="answered 2 of 3"):
        list(Meter(5).wrap(Box(drop=1), "search").logits(contexts(3), Images(5)))
