"""Limits of predictions and of money for models that bill."""

from __future__ import annotations

import threading

from craft_zoo.errors import CraftZooError


def cost_of(predictions: int, price: float) -> float:
    """The cost of a number of predictions.

    Args:
        predictions: their number.
        price: of one.
    """
    return predictions * price


def exceeds(cost: float, limit: float) -> bool:
    """Whether a cost is above a limit.

    A price such as 0.0001 has no exact binary form: a limit that is met exactly holds.
    """
    return cost > limit * (1 + 1e-9)


class CostLimit:
    """Counts predictions and refuses those that would exceed a limit.

    It is independent of the query meter: methods are compared at a budget of queries, and this
    limits what is paid.

    Args:
        max_predictions: the most predictions; None: no limit.
        price: of one prediction, in any currency.
        max_cost: the most that all predictions may cost; None: no limit.

    Attributes:
        predictions: number requested so far; a request that is sent again counts again only where
            it may be billed again.

    Raises:
        CraftZooError: a limit is negative, or a cost is limited without a price.
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
        """Cost of the predictions so far; 0 where no price is known."""
        return cost_of(self.predictions, self._price or 0.0)

    def check(self, predictions: int) -> None:
        """Check a number of further predictions against the limits.

        Raises:
            CraftZooError: they would exceed one.
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
        """Count further predictions; raises as :meth:`check` does."""
        with self._lock:
            self.check(predictions)
            self.predictions += predictions
