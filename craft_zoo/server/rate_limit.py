"""Token-bucket rate limits by account, for requests and class names."""

from __future__ import annotations

import math
from collections.abc import Callable


class RateLimit:
    """One token bucket for each account; a request takes tokens, which are refilled over time.

    Args:
        rate: tokens that are refilled in a second.
        burst: capacity of a bucket.
        clock: monotonic clock in seconds.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # (tokens, time of that count)

    def take(self, account: str, count: int = 1) -> int:
        """Take tokens from an account's bucket, or none if there are too few.

        Args:
            account: name of the account.
            count: number of tokens, at most the capacity.

        Returns:
            0 if the tokens were taken; otherwise the seconds, rounded up, until there are enough.
        """
        now = self._clock()
        tokens, counted = self._buckets.get(account, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - counted) * self._rate)
        if tokens < count:
            self._buckets[account] = tokens, now
            return math.ceil((count - tokens) / self._rate)
        self._buckets[account] = tokens - count, now
        return 0
