"""What predictions cost, and what a model behind a network may cost."""

from __future__ import annotations

import threading

from craft_zoo.errors import CraftZooError


def cost_of(predictions: int, price: float) -> float:
    """Of so many predictions at the price of one."""
    return predictions * price


def exceeds(cost: float, limit: float) -> bool:
    """Whether a cost is above a limit.

    A price such as 0.0001 has no exact binary form: a limit that is met exactly holds.
    """
    return cost > limit * (1 + 1e-9)


class Spending:
    """Counts predictions and refuses those that would cost too much.

    It stands beside the query meter: a budget of queries is what methods are compared at, this one
    is what somebody pays.

    Args:
        max_predictions: the most that may be asked for; None: no limit.
        price: of one prediction, in whatever currency.
        max_cost: the most that all may cost; None: no limit.

    Attributes:
        predictions: asked for so far; a question that is sent again is counted again only where it
            may be billed again.

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
        """Of the predictions so far; 0 where no price is known."""
        return cost_of(self.predictions, self._price or 0.0)

    def check(self, predictions: int) -> None:
        """Refuse so many more where they would exceed a limit.

        Raises:
            CraftZooError: they would.
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
        """Count so many, see :meth:`check`."""
        with self._lock:
            self.check(predictions)
            self.predictions += predictions
