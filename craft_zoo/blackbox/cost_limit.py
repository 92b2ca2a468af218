"""Limits on billed predictions and on their cost."""

from __future__ import annotations

import threading

from craft_zoo.errors import CraftZooError


def cost_of(predictions: int, price: float) -> float:
    """The cost of predictions.

    Args:
        predictions: number of predictions.
        price: price of one prediction.
    """
    return predictions * price


def exceeds(cost: float, limit: float) -> bool:
    """Whether a cost exceeds a limit.

    A relative tolerance of 1e-9 lets a cost equal the limit, as prices such as 0.0001 are rounded.
    """
    return cost > limit * (1 + 1e-9)


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
        self._most, self._price, self._max_cost = max_predictions, price, max_cost
        self._lock = threading.Lock()
        self.predictions = 0

    @property
    def cost(self) -> float:
        """Cost of the predictions so far; 0 if the price is unknown."""
        return cost_of(self.predictions, self._price or 0.0)

    def check(self, predictions: int) -> None:
        """Check that further predictions stay within the limits.

        Raises:
            CraftZooError: they would exceed a limit.
        """
        total = self.predictions + predictions
        more = f"{predictions:,} more prediction{'s' if predictions != 1 else ''}"
        if self._most is not None and total > self._most:
            raise CraftZooError(
                f"{more} would exceed the limit of {self._most:,} "
                f"({self.predictions:,} made): raise max_predictions (--max-predictions)"
            )
        if self._price is None or self._max_cost is None:
            return
        if exceeds(cost_of(total, self._price), self._max_cost):
            raise CraftZooError(
                f"{more} would cost {cost_of(predictions, self._price):g} and "
                f"exceed the limit of {self._max_cost:g} ({self.cost:g} spent): raise max_cost "
                f"(--max-cost)"
            )

    def charge(self, predictions: int) -> None:
        """Count further predictions. Raises as :meth:`check` does. Thread-safe."""
        with self._lock:
            self.check(predictions)
            self.predictions += predictions
