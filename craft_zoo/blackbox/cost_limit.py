"""Limits on billed predictions and on their cost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from craft_zoo.blackbox.usage import Price, Usage, exact_amount
from craft_zoo.errors import CraftZooError


class CostLimit:
    """Counts what a service bills, and refuses what would exceed a limit.

    The limit is independent of the query budget of :class:`Meter`: the budget makes methods
    comparable, whereas this class limits what a service bills.

    Args:
        max_predictions: maximum number of predictions; None: unlimited.
        price: prices, or the price of one prediction, in any currency; None: unknown.
        max_cost: maximum cost of all predictions, in the same currency; None: unlimited.

    Attributes:
        usage: what was requested or billed so far. A retry counts again only if it may be billed
            again. A request that failed in the end counts only if it may have been billed.

    Raises:
        CraftZooError: a limit is negative, or ``max_cost`` is given without ``price``.
    """

    def __init__(
        self,
        max_predictions: int | None = None,
        price: Price | float | None = None,
        max_cost: float | None = None,
    ) -> None:
        for what, value in (("max_predictions", max_predictions), ("max_cost", max_cost)):
            if value is not None and not value >= 0:
                raise CraftZooError(f"{what} must not be negative, it is {value:g}")
        if max_cost is not None and price is None:
            raise CraftZooError("a limit of the cost needs to know the price: add price (--price)")
        self._most, self._max_cost = max_predictions, max_cost
        self.price = Price(predictions=price) if isinstance(price, int | float) else price
        self._lock = threading.Condition()
        self._open = 0  # reservations
        self.usage = Usage()

    @property
    def predictions(self) -> int:
        """Number of predictions so far."""
        return self.usage.predictions

    @property
    def cost(self) -> float:
        """Cost so far; 0 if the price is unknown."""
        return (self.price or Price()).cost(self.usage)

    def exceeded_by(self, more: Usage) -> Literal["predictions", "cost"] | None:
        """The limit that further usage would exceed; None: neither."""
        total = self.usage + more
        if self._most is not None and total.predictions > self._most:
            return "predictions"
        if self.price is None or self._max_cost is None:
            return None
        # A cost may equal the limit, as prices such as 0.0001 are rounded.
        return "cost" if self.price.cost(total) > self._max_cost * (1 + 1e-9) else None

    def check(self, more: Usage) -> None:
        """Check that further usage stays within the limits.

        Raises:
            CraftZooError: it would exceed a limit.
        """
        exceeded = self.exceeded_by(more)
        if exceeded == "predictions":
            raise CraftZooError(
                f"{_in_words(Usage(more.predictions))} would exceed the limit of {self._most:,} "
                f"({self.predictions:,} made): raise max_predictions (--max-predictions)"
            )
        if exceeded == "cost":
            assert self.price is not None
            assert self._max_cost is not None
            raise CraftZooError(
                f"{_in_words(more)} would cost {exact_amount(self.price.cost(more))} and exceed "
                f"the limit of {exact_amount(self._max_cost)} ({exact_amount(self.cost)} spent): "
                f"raise max_cost (--max-cost)"
            )

    def charge(self, more: Usage) -> None:
        """Count further usage. Raises as :meth:`check` does. Thread-safe."""
        with self._lock:
            self.check(more)
            self.usage += more

    def reserve(self, expected: Callable[[], Usage]) -> Usage:
        """Count what a request is expected to be billed, until :meth:`settle`. Thread-safe.

        Where that would exceed a limit, other reservations are waited for, as less may be billed.

        Args:
            expected: estimates the usage, which answers to other requests may change.

        Returns:
            What was counted.

        Raises:
            CraftZooError: it would exceed a limit, and nothing else is reserved.
        """
        with self._lock:
            while self.exceeded_by(more := expected()) and self._open:
                self._lock.wait()
            self.check(more)
            self.usage += more
            self._open += 1
            return more

    def settle(self, more: Usage) -> None:
        """End a reservation, and count what was billed beyond it, which may be negative."""
        with self._lock:
            self.usage += more
            self._open -= 1
            self._lock.notify_all()

    def record(self, more: Usage) -> None:
        """Count usage that has been billed already, even beyond the limits. Thread-safe.

        It may be negative, to count what was billed in place of what was expected and charged.
        """
        with self._lock:
            self.usage += more


def _in_words(usage: Usage) -> str:
    """For example "40 more predictions, 40 requests"."""
    return usage.in_words().replace(" ", " more ", 1)
