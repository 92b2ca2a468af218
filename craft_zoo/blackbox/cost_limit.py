"""Limits on billed predictions and on their cost."""

from __future__ import annotations

import threading
from typing import Literal

from craft_zoo.errors import CraftZooError


class CostLimit:
    """Counts predictions and refuses those that would exceed a limit.

    The limit is independent of the query budget of :class:`Meter`: the budget makes methods
    comparable, whereas this class limits what a service bills.

    Args:
        max_predictions: maximum number of predictions; None: unlimited.
        price: price of one prediction, in any currency.
        max_cost: maximum cost of all predictions, in the same currency; None: unlimited.

    Attributes:
        predictions: number of predictions requested so far. A retry counts again only if it may
            be billed again.

    Raises:
        CraftZooError: a limit is negative, or ``max_cost`` is given without ``price``.
    """

    def __init__(
        self,
        max_predictions: int | None = None,
        price: float | None = None,
        max_cost: float | None = None,
    ) -> None:
        for what, value in (
            ("max_predictions", max_predictions),
            ("price", price),
            ("max_cost", max_cost),
        ):
            if value is not None and not value >= 0:
                raise CraftZooError(f"{what} must not be negative, it is {value:g}")
        if max_cost is not None and price is None:
            raise CraftZooError("a limit of the cost needs to know the price of a prediction")
        self._most, self._price, self._max_cost = max_predictions, price or 0.0, max_cost
        self._lock = threading.Lock()
        self.predictions = 0

    @property
    def cost(self) -> float:
        """Cost of the predictions so far; 0 if the price is unknown."""
        return self.predictions * self._price

    def exceeded_by(self, predictions: int) -> Literal["predictions", "cost"] | None:
        """Which limit further predictions would exceed; None: neither."""
        total = self.predictions + predictions
        if self._most is not None and total > self._most:
            return "predictions"
        # A cost may equal the limit, as prices such as 0.0001 are rounded.
        if self._max_cost is not None and total * self._price > self._max_cost * (1 + 1e-9):
            return "cost"
        return None

    def check(self, predictions: int) -> None:
        """Check that further predictions stay within the limits.

        Raises:
            CraftZooError: they would exceed a limit.
        """
        exceeded = self.exceeded_by(predictions)
        more = f"{predictions:,} more prediction{'s' if predictions != 1 else ''}"
        if exceeded == "predictions":
            raise CraftZooError(
                f"{more} would exceed the limit of {self._most:,} "
                f"({self.predictions:,} made): raise max_predictions (--max-predictions)"
            )
        if exceeded == "cost":
            raise CraftZooError(
                f"{more} would cost {predictions * self._price:g} and exceed the limit of "
                f"{self._max_cost:g} ({self.cost:g} spent): raise max_cost (--max-cost)"
            )

    def charge(self, predictions: int) -> None:
        """Count further predictions. Raises as :meth:`check` does. Thread-safe."""
        with self._lock:
            self.check(predictions)
            self.predictions += predictions
