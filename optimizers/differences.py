"""Base class of optimizers that follow two-point gradient estimates."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import numpy as np

from craft_zoo.optimizers.base import Outputs
from craft_zoo.optimizers.bounded import Bounded
from craft_zoo.optimizers.option import check_above_zero, check_at_least, check_generation
from craft_zoo.optimizers.space import Space

_LOOK = 10  # generations, of which one evaluates y too if the best candidate is recommended
_PATIENCE = 3  # generations without a successful pair before the search retreats


class PairedDifferences(Bounded):
    """Follows gradients estimated from pairs of candidates on opposite sides of a point y.

    For a random direction δ with entries ±1, ``slope = (L(y + c δ) - L(y - c δ)) / 2c`` and
    ``gradient = mean of slope · δ``. This is SPSA's estimate, because δ is its own element-wise
    inverse. Pairs with a failed evaluation are ignored.

    Steps that are too long for the number of variables lead away from a minimum. So if the losses
    around a point are clearly above those around the start, the search returns to the last point
    where they were not, and halves its steps.

    Args:
        c: distance of a candidate from the point y, in each coordinate.
        directions: pairs per step, over which the gradient is averaged.
        recommends: the recommended point: last (around which the losses were no worse than around
            the start) or best, for losses without noise (the candidate with the least loss, among
            which are then the start and the point y of every tenth step).
    """

    def __init__(
        self,
        space: Space | int,
        *,
        c: float = 0.3,
        directions: int = 1,
        recommends: Literal["last", "best"] = "last",
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        check_above_zero(self.name, c=c)
        check_at_least(self.name, 1, directions=directions)
        check_generation(self.name, self.budget, 2)  # a pair
        self.c, self.directions, self.recommends = c, directions, recommends
        self._z = np.zeros(self.dim)
        # y of the last pairs, and the last y that was no worse than the start
        self._around = self._safe = np.zeros(self.dim)
        self._deltas = np.zeros((0, self.dim))
        self._shrink = 1.0  # factor of all step lengths
        self._limit, self._tolerance = np.inf, 0.0  # loss at the start, and its noise
        self._curvature = 0.0  # of the loss along δ at the start; 0: unknown
        self._generations = 0
        self._in_vain = 0  # generations in a row without a successful pair

    def _point(self) -> np.ndarray:
        """The point y at which the next gradient is estimated."""
        return self._z

    def _distance(self) -> float:
        """The distance c of the next pairs."""
        return self.c

    @abstractmethod
    def _follow(self, gradient: np.ndarray) -> None:
        """Move ``self._z``, by a step proportional to ``self._shrink``."""

    def _halt(self) -> None:
        """Reset momentum."""

    def _ask(self) -> np.ndarray:
        pairs = self._pairs(self.directions)
        last = self.remaining <= 2 * len(pairs) + 1
        if self.recommends == "best" and (last or self._generations % _LOOK == 0):
            pairs = np.concatenate([pairs, self._around[None]])  # without a mirror image: no slope
        self._generations += 1
        return pairs

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        pairs = self._succeeded(losses, self.failed)
        self._in_vain = 0 if len(pairs) else self._in_vain + 1
        if self._in_vain >= _PATIENCE:
            self._retreat()
        if len(pairs):
            if np.isinf(self._limit):
                self._note_start(pairs)
            if self._goes_on(pairs):
                self._step(pairs)

    def _step(self, pairs: np.ndarray) -> None:
        """Follow the mean gradient of the last pairs, within the bounds."""
        self._follow((self._slopes(pairs)[:, None] * self._deltas).mean(axis=0))
        self._z = self._inside(self._z)

    def _note_start(self, pairs: np.ndarray) -> None:
        """Set the loss at the start and its tolerance from the pairs around it."""
        self._limit = self._value(pairs)
        self._tolerance = float(np.sqrt(np.mean((pairs[:, 0] - pairs[:, 1]) ** 2)))

    def _value(self, pairs: np.ndarray) -> float:
        """The loss at the midpoint of the pairs, up to a constant."""
        return float(pairs.mean()) - self._curvature / 2 * self._distance() ** 2

    def _goes_on(self, pairs: np.ndarray) -> bool:
        """Whether to step from the midpoint of the pairs; if False, the search has retreated."""
        value = self._value(pairs)
        if np.array_equal(self._around, self._safe):
            if value > self._limit + self._tolerance:  # the function has changed
                self._shrink = min(1.0, 2 * self._shrink)
            self._limit = max(self._limit, value)
        elif value <= self._limit:
            self._safe = self._around
        elif value > self._limit + self._tolerance:
            self._retreat()
            return False
        return True

    def _retreat(self) -> None:
        self._in_vain = 0
        if not np.array_equal(self._around, self._safe):
            self._z = self._safe.copy()
            self._shrink /= 2
            self._halt()

    def _pairs(self, n: int) -> np.ndarray:
        """n pairs around the point, (2n, d), each candidate followed by its mirror image."""
        self._deltas = self.rng.choice([-1.0, 1.0], size=(n, self.dim))
        self._around = self._inside(self._point()).copy()
        moves = self._distance() * self._deltas
        both = np.stack([self._point() + moves, self._point() - moves], axis=1)
        return self._inside(both.reshape(-1, self.dim))

    def _succeeded(self, losses: np.ndarray, failed: np.ndarray) -> np.ndarray:
        """(n, 2) losses of the pairs with two successful evaluations; drops the other pairs.

        A last candidate whose mirror image was not evaluated is ignored.
        """
        n = len(losses) // 2
        good = ~failed[: 2 * n].reshape(n, 2).any(axis=1)
        self._deltas = self._deltas[:n][good]
        return losses[: 2 * n].reshape(n, 2)[good]

    def _slopes(self, pairs: np.ndarray) -> np.ndarray:
        """(n,) derivatives along the directions of the pairs."""
        return (pairs[:, 0] - pairs[:, 1]) / (2 * self._distance())

    def recommend(self) -> np.ndarray:
        """See the option ``recommends``."""
        return self._safe.copy() if self.recommends == "last" else self.best.point
