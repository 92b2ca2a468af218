"""Trying again, for everything that is asked over a network."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from craft_zoo.errors import CraftZooError

Result = TypeVar("Result")

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]*)?")


class Transient(Exception):  # noqa: N818, an event rather than a mistake
    """It failed in a way that may pass.

    Attributes:
        reason: in a few words.
        after: seconds that the other side wants to be left alone for.
    """

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


@dataclass(frozen=True)
class Retrying:
    """How often and how long something is tried.

    The pause before the n-th retry is drawn between 0 and ``first`` · 2ⁿ⁻¹ seconds, at most
    ``longest``, so that many clients of one server do not come back all at once; it is added to
    what the server asks for.

    Attributes:
        attempts: the most that are made.
        seconds: after which no further attempt is begun.
        first: see above, as for ``longest``.
        longest: see above.
        sleep: waits.
        draw: a random number from 0 to 1.
        clock: seconds that only grow.
    """

    attempts: int = 60
    seconds: float = 600.0
    first: float = 0.5
    longest: float = 20.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    draw: Callable[[], float] = field(default_factory=lambda: random.Random().random, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.seconds < 0:
            raise CraftZooError(
                f"{self.attempts} attempts in {self.seconds:g} s cannot be made: allow at least "
                f"one attempt and no negative time"
            )

    def __call__(self, attempt: Callable[[], Result], who: str) -> Result:
        """What the first attempt returns that does not raise :class:`Transient`.

        Args:
            attempt: makes one.
            who: what is asked, for the message, as in "server https://…".

        Raises:
            CraftZooError: none succeeded in the time and number that are allowed.
        """
        began, made = self.clock(), 0
        while True:
            try:
                return attempt()
            except Transient as failure:
                made += 1
                ceiling = min(self.longest, self.first * 2.0 ** min(made - 1, 60))
                pause = failure.after + ceiling * self.draw()
                passed = self.clock() - began
                if made >= self.attempts or passed + pause > self.seconds:
                    raise self._ended(failure, who, passed, made) from None
            self.sleep(pause)

    def _ended(self, failure: Transient, who: str, passed: float, made: int) -> CraftZooError:
        tries = f"{made} attempt{'s' if made > 1 else ''}"
        wait = f", which asks to wait {failure.after:.0f} s" if failure.after > self.longest else ""
        return CraftZooError(
            f"{who} did not answer for {passed:.0f} s ({failure.reason}{wait}; {tries}): the same "
            f"command goes on when it is there again"
        )


def seconds_of(retry_after: str | None) -> float:
    """What a Retry-After header asks for, in seconds or as a date; 0 where it says nothing."""
    text = (retry_after or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
