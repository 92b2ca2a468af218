"""Token-bucket rate limits by account, for requests and class names."""

from __future__ import annotations

import math
from collections.abc import Callable

from craft_zoo.protocol import ErrorCode
from craft_zoo.server.errors import Refusal


class RateLimit:
    """One token bucket for each account; a request takes tokens, which are refilled over time.

    Args:
        what: what a token stands for, in messages.
        rate: tokens that are refilled in a second.
        burst: capacity of a bucket.
        clock: monotonic clock in seconds.
    """

    def __init__(self, what: str, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._what, self._rate, self._burst, self._clock = what, rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # (tokens, time of that count)

    def take(self, account: str, count: int = 1) -> None:
        """Take tokens, at most the capacity, from an account's bucket.

        Raises:
            Refusal: there are too few, and none was taken.
        """
        now = self._clock()
        tokens, counted = self._buckets.get(account, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - counted) * self._rate)
        if tokens < count:
            self._buckets[account] = tokens, now
            seconds = math.ceil((count - tokens) / self._rate)
            raise Refusal(
                ErrorCode.RATE_LIMITED,
                f"too many {self._what}: wait {seconds} s and send at most {self._rate:g} a second",
                retry_after=seconds,
            )
        self._buckets[account] = tokens - count, now
