"""Trying again, for everything that is asked over a network."""

from __future__ import annotations

import logging
import math
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from craft_zoo.errors import CraftZooError

Result = TypeVar("Result")

_LOG = logging.getLogger("craft_zoo.blackbox")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_LONG_WAIT = 1e9  # seconds; whoever asks for more means no more than this
_SHORT_WAIT = 5.0  # seconds in all that are not worth a word
_BETWEEN_WORDS = 10.0  # seconds, as many threads may wait for one address


class Transient(Exception):  # noqa: N818, an event rather than a mistake
    """It failed in a way that may pass.

    Attributes:
        reason: in a few words.
        after: seconds that the other side wants to be left alone for.
        attempts: that such a failure is worth, as it seldom passes; None: any number.
        unheard: whether the address has never answered, so that it may be the wrong one.
        billed: whether the request may have been answered, and billed, all the same.
    """

    def __init__(
        self,
        reason: str,
        after: float = 0.0,
        *,
        attempts: int | None = None,
        unheard: bool = False,
        billed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after
        self.attempts, self.unheard, self.billed = attempts, unheard, billed


class Damaged(Transient):
    """What came is not what was sent, or belongs to another request, as may what comes next."""


class Stopped(Exception):  # noqa: N818, an event rather than a mistake
    """Nobody waits for the answer any more."""


class _Words:
    """Logs what is waited for, once for all threads that wait for the same."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, who: str, reason: str, seconds: float) -> None:
        now = time.monotonic()
        if now - self._last.get(who, -math.inf) < _BETWEEN_WORDS:
            return
        self._last[who] = now
        _LOG.warning("waiting %d s for %s (%s)", math.ceil(seconds), who, reason)


@dataclass(frozen=True)
class Retrying:
    """How often and how long something is tried.

    The pause before the n-th retry is drawn between 0 and ``first`` · 2ⁿ⁻¹ seconds, at most
    ``longest``, so that many clients of one server do not come back all at once; it is added to
    what the server asks for.

    Attributes:
        attempts: the most that are made.
        seconds: after which no further attempt is begun.
        unheard: likewise, of an address that cannot be reached and has never answered: it is more
            likely mistyped than down.
        first: see above, as for ``longest``.
        longest: see above.
        sleep: waits; None: as long as it is told to, or until nobody waits for the answer.
        draw: a random number from 0 to 1.
        clock: seconds that only grow.
        on_wait: told who is waited for, why, and for how many seconds, as soon as it has taken more
            than 5 s in all; by default it logs a warning, every 10 s at the most.
    """

    attempts: int = 60
    seconds: float = 600.0
    unheard: float = 30.0
    first: float = 0.5
    longest: float = 20.0
    sleep: Callable[[float], None] | None = field(default=None, repr=False)
    draw: Callable[[], float] = field(default_factory=lambda: random.Random().random, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    on_wait: Callable[[str, str, float], None] = field(default_factory=_Words, repr=False)

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.seconds, self.unheard) < 0:
            raise CraftZooError(
                f"{self.attempts} attempts in {min(self.seconds, self.unheard):g} s cannot be "
                f"made: allow at least one attempt and no negative time"
            )

    def __call__(
        self, attempt: Callable[[], Result], who: str, stop: threading.Event | None = None
    ) -> Result:
        """What the first attempt returns that does not raise :class:`Transient`.

        Args:
            attempt: makes one.
            who: what is asked, for the message, as in "server https://…".
            stop: set when nobody waits for the answer any more.

        Raises:
            CraftZooError: none succeeded in the time and number that are allowed.
            Stopped: ``stop`` was set before another attempt.
        """
        began, made, seldom = self.clock(), 0, 0
        while True:
            if stop is not None and stop.is_set():
                raise Stopped(who)
            try:
                return attempt()
            except Transient as failure:
                made += 1
                seldom += failure.attempts is not None
                ceiling = min(self.longest, self.first * 2.0 ** min(made - 1, 60))
                pause = failure.after + ceiling * self.draw()
                passed = self.clock() - began
                if failure.attempts is not None and seldom >= failure.attempts:
                    raise _useless(failure, who, made) from None
                patience = min(self.seconds, self.unheard) if failure.unheard else self.seconds
                if made >= self.attempts or passed + pause > patience:
                    raise self._ended(failure, who, passed, made) from None
                reason = failure.reason
            if passed + pause > _SHORT_WAIT:
                self.on_wait(who, reason, pause)
            self._wait(pause, stop)

    def _wait(self, seconds: float, stop: threading.Event | None) -> None:
        if self.sleep is not None:
            self.sleep(seconds)
        elif stop is not None:
            stop.wait(seconds)
        else:
            time.sleep(seconds)

    def _ended(self, failure: Transient, who: str, passed: float, made: int) -> CraftZooError:
        wait = f", which asks to wait {failure.after:.0f} s" if failure.after > self.longest else ""
        why = f"{failure.reason}{wait}; {_tries(made)}"
        if failure.unheard:
            return CraftZooError(
                f"{who} did not answer for {passed:.0f} s ({why}), and never has: check the "
                f"address and the network"
            )
        return CraftZooError(
            f"{who} did not answer for {passed:.0f} s ({why}): the same command goes on when it "
            f"is there again"
        )


def _useless(failure: Transient, who: str, made: int) -> CraftZooError:
    return CraftZooError(
        f"{who} gives no answer that can be used ({failure.reason}; {_tries(made)}): check the "
        f"address, or ask its owner"
    )


def _tries(made: int) -> str:
    return f"{made} attempt{'s' if made > 1 else ''}"


def clamped(seconds: float) -> float:
    """Seconds that somebody asks to wait: what is huge means long, what is none means none."""
    return float(min(seconds, _LONG_WAIT)) if seconds > 0 else 0.0


def seconds_of(retry_after: str | None) -> float:
    """What a Retry-After header asks for, in seconds or as a date; 0 where it says nothing."""
    text = (retry_after or "").strip()
    if _SECONDS.fullmatch(text):
        return clamped(float(text))
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return clamped((date - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0
