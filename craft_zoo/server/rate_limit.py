"""A token bucket for each account: limits of requests and of class names a second."""

from __future__ import annotations

import math
from collections.abc import Callable


class RateLimit:
    """Token buckets: each request takes tokens from its account's, which fills up again with time.

    Args:
        rate: tokens that come back in a second.
        burst: tokens that a bucket holds.
        clock: seconds that only grow.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, when they were counted

    def take(self, account: str, count: int = 1) -> int:
        """Take tokens.

        Args:
            account: whose bucket.
            count: at most as many as a bucket holds.

        Returns:
            0; or, where there are too few and none is taken, the whole seconds until there will be
            enough.
        """
        now = self._clock()
        tokens, counted = self._buckets.get(account, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - counted) * self._rate)
        if tokens < count:
            self._buckets[account] = tokens, now
            return math.ceil((count - tokens) / self._rate)
        self._buckets[account] = tokens - count, now
        return 0
