"""Requests a second."""

from __future__ import annotations

import math
from collections.abc import Callable


class RateLimit:
    """One bucket an account: each request takes a token, and tokens come back in time.

    Args:
        rate: tokens that come back in a second.
        burst: tokens that a bucket holds.
        clock: seconds that only grow.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, when they were counted

    def take(self, account: str) -> int:
        """Take a token; 0, or after how many whole seconds there will be one."""
        now = self._clock()
        tokens, counted = self._buckets.get(account, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - counted) * self._rate)
        if tokens < 1:
            self._buckets[account] = tokens, now
            return math.ceil((1 - tokens) / self._rate)
        self._buckets[account] = tokens - 1, now
        return 0
