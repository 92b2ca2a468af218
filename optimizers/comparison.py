"""Comparison of noisy points by repeated evaluations, at the end of a search."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from itertools import cycle, islice

import numpy as np

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.quadratic import fitted_minimum

_MOST = 60  # evaluations of a comparison
_FEWEST = 3  # evaluations of each point
_MOST_OF_EACH = 15  # evaluations of each point where all combinations of choices were tried


class Comparison:
    """Chooses the point of the least mean of repeated evaluations.

    Args:
        budget: evaluations of the search and the comparison together.
        sign: 1 if the function is minimised, -1 if it is maximised.
        key: gives a value that is equal for candidates of the same point, as where variables are
            rounded: of a point compared with itself, the luckier mean would be taken.

    Attributes:
        evaluations: number of evaluations that were kept back for comparisons so far.
        best: (d,) the chosen point; None before the first comparison has ended.
        mean: mean of its evaluations.
        count: number of its evaluations that succeeded.
        noise: standard deviation of an evaluation, estimated from all repeated ones.
    """

    def __init__(self, budget: int, sign: float, key: Callable[[np.ndarray], Hashable]) -> None:
        self._sign, self._key = sign, key
        self.evaluations = 0
        self._since = 0  # evaluations of the budget of which no share was kept back
        self.extend(budget)
        self.best: np.ndarray | None = None
        self.mean, self.noise, self.count = math.nan, math.nan, 1
        self._seen: list[tuple[np.ndarray, float]] = []  # candidates of the search, and losses
        self._points: list[np.ndarray] = []  # of the latest comparison
        self._values: dict[Hashable, list[float]] = {}  # values of a point evaluated repeatedly

    @property
    def begun(self) -> bool:
        """Whether a point was evaluated again."""
        return bool(self._values)

    def extend(self, evaluations: int) -> int:
        """Keep back a share of further evaluations, and return their number.

        Extensions too small for a comparison count together.
        """
        self._since += evaluations
        self._left = _share(self._since)
        self._since = 0 if self._left else self._since
        self.evaluations += self._left
        return self._left

    def add(self, z: np.ndarray, value: float) -> None:
        """Add an evaluation of the search."""
        self._seen.append((z, self._sign * value))

    def add_repeated(self, z: np.ndarray, value: float) -> None:
        """Add a repeated evaluation."""
        self._values.setdefault(self._key(z), []).append(value)

    def points(self, optimizer: Optimizer, unspent: int, *, rounded: bool) -> list[np.ndarray]:
        """The points to evaluate again, in order, each as often as it is to be evaluated.

        Args:
            optimizer: the optimizer of the search.
            unspent: evaluations left if all combinations of choices were tried; 0: they were not.
            rounded: whether variables are rounded to whole numbers or choices.

        Returns:
            (d,) points; empty if no evaluations are left for a comparison.
        """
        others: list[np.ndarray] = []
        if unspent:
            self._left = min(unspent, _MOST_OF_EACH * len(self._seen))
            order = np.argsort([loss for _, loss in self._seen], kind="stable")
            others = [self._seen[place][0] for place in order]
        if not self._left or not self._seen:
            return []
        found = self._candidates(optimizer, others, rounded)
        self._points = found[: self._left // _FEWEST]
        count, self._left = self._left, 0
        return list(islice(cycle(self._points), count))

    def _candidates(
        self, optimizer: Optimizer, others: list[np.ndarray], rounded: bool
    ) -> list[np.ndarray]:
        """The points that may be the best, each once, the likeliest first."""
        candidates, losses = map(np.array, zip(*self._seen, strict=True))
        recommended = optimizer.recommend()
        found = [recommended, self.best, None]
        if optimizer.choices is None and not rounded:
            found[2] = fitted_minimum(candidates, losses, recommended)
        least = candidates[int(np.where(np.isfinite(losses), losses, np.inf).argmin())]
        found += [*others, np.zeros(optimizer.dim), least]
        return list({self._key(z): z + 0.0 for z in found if z is not None}.values())

    def decide(self) -> bool:
        """Set all attributes, if any point has two evaluations that succeeded; whether one has."""
        given = [np.array(self._values.get(self._key(z), [])) for z in self._points]
        values = [each[np.isfinite(each)] for each in given]
        counts = [len(each) for each in values]
        if max(counts, default=0) < 2:
            return False
        means = [self._sign * each.mean() if len(each) > 1 else math.inf for each in values]
        i = int(np.argmin(means))
        self.best, self.mean, self.count = self._points[i], float(values[i].mean()), counts[i]
        squares = sum(float(((each - each.mean()) ** 2).sum()) for each in values if len(each))
        self.noise = math.sqrt(squares / sum(max(0, count - 1) for count in counts))
        return True


def _share(budget: int) -> int:
    """Evaluations of a budget that are kept back for a comparison."""
    share = min(_MOST, budget // 10)
    return share if share >= _FEWEST else 0
