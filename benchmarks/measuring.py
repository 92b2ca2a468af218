"""When a run's solution is measured."""

from __future__ import annotations

# A curve has about so many measured points, evenly spread over the budget, and in its beginning
# one each time that the queries have doubled.
_POINTS = 200


class Measuring:
    """Which of a run's steps are measured.

    Args:
        budget: queries of the run.
    """

    def __init__(self, budget: int) -> None:
        self._budget, self._spacing = budget, budget / _POINTS
        self._next = 0.0
        self._last: int | None = None  # queries at which it was measured

    def due(self, queries: int) -> bool:
        """Whether the step that so many queries have come to is measured; it then counts so."""
        doubled = self._last is not None and queries >= max(1, 2 * self._last)
        if queries < self._next and not doubled and queries < self._budget:
            return False
        self._next = self._spacing * (queries // self._spacing + 1)
        self._last = queries
        return True

    def measured(self, queries: int) -> bool:
        """Whether the last measured step is that of so many queries, as the end must be."""
        return self._last == queries
