"""MMES, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.mmes import MMES


class Scripted:
    """Draws numbers that are written down."""

    def __init__(self, ages: list[int], mixed: list[float], noise: list[float]) -> None:
        self.ages, self.mixed, self.noise = list(ages), list(mixed), noise

    def geometric(self, share: float) -> int:
        assert share == 0.95
        return self.ages.pop(0)

    def standard_normal(self, size: int | None = None) -> float | np.ndarray:
        return self.mixed.pop(0) if size is None else np.array(self.noise)


def test_two_generations_by_hand() -> None:
    search = MMES(4, popsize=2, budget=5, seed=1)
    # Four paths, one of which is recent with a probability of 0.95; the paths' share of a
    # mutation's variance is 1 - 0.05^4, so that noise is multiplied by 0.0025.
    assert search.ask().tolist() == [[0, 0, 0, 0]]
    search.tell(np.zeros((1, 4)), [5.0])
    search.rng = Scripted([1, 1, 1, 1], [1, 1, 1, 1], [400, 800, 0, 0])  # type: ignore[assignment]
    candidates = search.ask()
    np.testing.assert_allclose(candidates, [[1, 2, 0, 0], [-1, -2, 0, 0]], rtol=1e-9)
    search.tell(candidates, [3.0, 4.0])
    # The mean moves to the better candidate. With a rate of 0.4 / √4 = 0.2 the path is 0.6 times
    # that step. Success is √(0.3 · 1.7) = 0.714143, of the normal distribution's 0.762432, so
    # that the step size is exp(0.762432 - 0.95) = 0.828972.
    np.testing.assert_allclose(search.recommend(), [1, 2, 0, 0])
    np.testing.assert_allclose(search._paths[0], [0.6, 1.2, 0, 0])
    assert search.sigma == pytest.approx(0.828972, rel=1e-5)
    # Of the ages, 3 is the place of the only path so far; (1 + 2) times it, times
    # √(0.99999375 / 4), is (0.9, 1.8, 0, 0).
    search.rng = Scripted([3, 3, 1, 1], [1, 2, 9, 9], [0, 0, 0, 0])  # type: ignore[assignment]
    candidates = search.ask()
    np.testing.assert_allclose(
        candidates, [[1.746072, 3.492145, 0, 0], [0.253928, 0.507855, 0, 0]], rtol=1e-5
    )
    search.tell(candidates, [3.5, 3.2])
    # 3.2 is worse than the 3 before: success is 0.7 · 0.714143 - 0.714143 = -0.214243, of the
    # normal distribution's 0.415178, and the step size is multiplied by exp(0.415178 - 0.95).
    assert search.sigma == pytest.approx(0.828972 * np.exp(-0.534822), rel=1e-5)
    np.testing.assert_allclose(search.recommend(), candidates[1])
    assert search.stop


def test_paths_that_are_close_in_time_are_replaced() -> None:
    search = MMES(4, popsize=2, budget=99, seed=1)
    search._made[:], search._generation = [0, 4, 5, 9], 10
    search._path = np.ones(4)
    search._remember()  # 4 and 5 are closest, by less than the 5 generations of 1 / 0.2
    assert search._order.tolist() == [0, 1, 3, 2]
    assert search._made.tolist() == [0, 4, 10, 9]
    search._made[:], search._order = [0, 6, 12, 18], np.arange(4)
    search._remember()  # none is close: the oldest is replaced
    assert search._order.tolist() == [1, 2, 3, 0]
    assert search._paths[0].tolist() == [1, 1, 1, 1]


def test_it_minimises() -> None:
    search = MMES(20, popsize=30, budget=6000, seed=1)
    while not search.stop:
        candidates = search.ask()
        search.tell(candidates, ((candidates - 2) ** 2).sum(axis=1))
    assert search.best.loss < 0.5
    with pytest.raises(OptimizerError, match="budget"):
        MMES(20, popsize=30, budget=30, seed=1)
