"""Schedule of the steps at which a run's solution is measured."""

from __future__ import annotations

# Measured points per curve, evenly spread over the budget. Early in the run, each doubling of the
# queries adds a point.
_POINTS = 200


class Measuring:
    """Decides which steps of a run are measured.

    Args:
        budget: queries of the run.
    """

    def __init__(self, budget: int) -> None:
        self._budget, self._spacing = budget, budget / _POINTS
        self._next = 0.0
        self._last: int | None = None  # queries at the last measurement

    def due(self, queries: int) -> bool:
        """Whether to measure the step after ``queries`` queries; if so, record it as measured."""
        doubled = self._last is not None and queries >= max(1, 2 * self._last)
        if queries < self._next and not doubled and queries < self._budget:
            return False
        self._next = self._spacing * (queries // self._spacing + 1)
        self._last = queries
        return True

    def measured(self, queries: int) -> bool:
        """Whether the last measurement was after ``queries`` queries."""
        return self._last == queries
