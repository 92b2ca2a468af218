"""ChoiceSearch, the base class of categorical optimizers that ask for nothing twice."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np

from craft_zoo.optimizers.base import Optimizer, Outputs
from craft_zoo.optimizers.option import check_at_least
from craft_zoo.optimizers.space import Space

_ATTEMPTS = 50  # proposals before a candidate is drawn at random


class ChoiceSearch(Optimizer):
    """A categorical optimizer that asks for each combination of choices at most once.

    Args:
        popsize: candidates a generation.
    """

    uses_choices: ClassVar[bool] = True
    needs_choices: ClassVar[bool] = True

    def __init__(self, space: Space | int, *, budget: int, seed: int, popsize: int = 20) -> None:
        super().__init__(space, budget=budget, seed=seed)
        check_at_least(self.name, 1, popsize=popsize)
        self.popsize = popsize
        self._tried: set[bytes] = set()
        assert self.choices is not None, "checked by Optimizer"
        self._combinations = math.prod(self.choices.tolist())
        # Of one count in place of equal ones, numpy draws the same numbers in less time.
        equal = len(set(self.choices.tolist())) == 1
        self._counts: int | np.ndarray = int(self.choices[0]) if equal else self.choices

    def _ask(self) -> np.ndarray:
        """The origin first, then new candidates of :meth:`_propose`."""
        rows: list[np.ndarray] = []
        if not self._tried:
            self._add(np.zeros(self.dim, dtype=np.int64), rows)
        return self._filled(rows, self.popsize)

    def _filled(self, rows: list[np.ndarray], count: int) -> np.ndarray:
        """(k, d) candidates, new ones added to ``rows`` until there are ``count`` or no others."""
        while len(rows) < count and len(self._tried) < self._combinations:
            for _ in range(_ATTEMPTS):
                if self._add(self._propose(), rows):
                    break
            else:
                self._add(self.drawn(), rows)
        return np.array(rows, dtype=np.float64).reshape(-1, self.dim)

    def _add(self, proposed: np.ndarray, rows: list[np.ndarray]) -> bool:
        key = proposed.tobytes()
        if key in self._tried:
            return False
        self._tried.add(key)
        rows.append(proposed)
        return True

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        self._learn(candidates.astype(np.int64), losses)

    @abstractmethod
    def _propose(self) -> np.ndarray:
        """Return a candidate (d,) int64; it may have been asked for before."""

    @abstractmethod
    def _learn(self, candidates: np.ndarray, losses: np.ndarray) -> None:
        """Learn from a generation (k, d) int64."""

    def drawn(self) -> np.ndarray:
        """(d,) int64, a uniformly random candidate."""
        return self.rng.integers(0, self._counts, size=self.dim)

    def changed(self, choice: np.ndarray, count: int) -> np.ndarray:
        """A copy with ``count`` random coordinates drawn anew."""
        where = self.rng.permutation(self.dim)[:count]
        changed = choice.copy()
        changed[where] = self.drawn()[where]
        return changed

    def _ask_ahead(self, count: int) -> np.ndarray:
        """New candidates of choices; fewer or none if no other combination is left."""
        return self._filled([], count)

    def _tell_added(self, points: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        self._learn(points.astype(np.int64), losses)

    def _stop(self) -> str | None:
        # Combinations of a generation whose losses are missing were not tried.
        if self._awaited.generation is None and len(self._tried) >= self._combinations:
            return "all combinations were tried"
        return None

    def recommend(self) -> np.ndarray:
        """The best candidate so far."""
        return self.best.point
