"""Retries with exponential backoff and jitter, for network requests."""

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

from craft_zoo.counts import counted
from craft_zoo.errors import CraftZooError, UnavailableError

Result = TypeVar("Result")

_LOG = logging.getLogger("craft_zoo.blackbox")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_LONG_WAIT = 1e9  # seconds; upper bound of the wait that a server may request
_SHORT_WAIT = 5.0  # seconds; shorter total waits are not logged
_UNHEARD_SECONDS = 30.0  # limit for a server that never answered: its address may be wrong
_BETWEEN_WARNINGS = 10.0  # seconds, because many threads may wait for one server


class Transient(Exception):  # noqa: N818, an expected condition rather than an error
    """A failure after which the request may be retried.

    Attributes:
        reason: short description.
        after: seconds for which the server asks to wait.
        attempts: number of failures with a limit after which to give up; None: it has no limit.
        unheard: whether the server has never answered, so that its address may be wrong.
        billed: whether the request may have been answered and billed nevertheless.
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
    """The answer is damaged or belongs to another request, so later ones may be wrong as well."""


class Stopped(Exception):  # noqa: N818, an expected condition rather than an error
    """The caller no longer needs the answer."""


@dataclass(frozen=True)
class Retrying:
    """Retry policy: exponential backoff with full jitter.

    The pause before the n-th retry is uniformly random between 0 and ``first`` · 2ⁿ⁻¹ seconds, at
    most ``longest``, so that the clients of a server do not retry simultaneously. The wait that
    the server requests is added. Once the total time exceeds 5 s, the log gets a warning of each
    wait, at most every 10 s for each server.

    Attributes:
        attempts: maximum number of attempts.
        seconds: time after which no further attempt begins; at most 30 s for a server that cannot
            be reached and has never answered.
        first: upper bound of the first pause, in seconds.
        longest: upper bound of every pause, in seconds.
        sleep: function that waits; None: the real wait, which ``stop`` ends early.
        draw: function that returns a random number between 0 and 1.
        clock: monotonic clock in seconds.
    """

    attempts: int = 60
    seconds: float = 600.0
    first: float = 0.5
    longest: float = 20.0
    sleep: Callable[[float], None] | None = field(default=None, repr=False)
    draw: Callable[[], float] = field(default_factory=lambda: random.Random().random, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _warned: dict[str, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.seconds < 0:
            raise CraftZooError(
                f"{self.attempts} attempts in {self.seconds:g} s cannot be made: allow at least "
                f"one attempt and no negative time"
            )

    def __call__(
        self, attempt: Callable[[], Result], who: str, stop: threading.Event | None = None
    ) -> Result:
        """Call ``attempt`` until it does not raise :class:`Transient`, and return its result.

        Args:
            attempt: makes one attempt.
            who: the server, for messages, for example "server https://…".
            stop: event that is set when the caller no longer needs the answer.

        Raises:
            UnavailableError: no attempt succeeded within the limits of time and number.
            CraftZooError: several answers were of no use.
            Stopped: ``stop`` was set before an attempt.
        """
        began, made, seldom, billed = self.clock(), 0, 0, False
        stop = stop or threading.Event()
        while True:
            if stop.is_set():
                raise Stopped(who)
            try:
                return attempt()
            except Transient as failure:
                made += 1
                billed |= failure.billed
                seldom += failure.attempts is not None
                ceiling = min(self.longest, self.first * 2.0 ** min(made - 1, 60))
                pause = failure.after + ceiling * self.draw()
                passed = self.clock() - began
                if failure.attempts is not None and seldom >= failure.attempts:
                    raise CraftZooError(
                        f"{who} gives no usable answer ({failure.reason}; "
                        f"{counted(made, 'attempt')}): check the address, or ask its owner"
                    ) from None
                unheard = _UNHEARD_SECONDS if failure.unheard else math.inf
                patience = min(self.seconds, unheard)
                if made >= self.attempts or passed + pause > patience:
                    error = self._ended(failure, who, passed, made)
                    error.billed = billed
                    raise error from None
                reason = failure.reason
            if passed + pause > _SHORT_WAIT:
                self._warn(who, reason, pause)
            (self.sleep or stop.wait)(pause)

    def _warn(self, who: str, reason: str, seconds: float) -> None:
        now = time.monotonic()
        if now - self._warned.get(who, -math.inf) >= _BETWEEN_WARNINGS:
            self._warned[who] = now
            _LOG.warning("waiting %d s for %s (%s)", math.ceil(seconds), who, reason)

    def _ended(self, failure: Transient, who: str, passed: float, made: int) -> UnavailableError:
        wait = f", which asks to wait {failure.after:.0f} s" if failure.after > self.longest else ""
        why = f"{failure.reason}{wait}; {counted(made, 'attempt')}"
        mend = ": rerun the same command once it is available, to continue"
        if failure.unheard:
            mend = ", and never has: check the address and the network"
        return UnavailableError(f"{who} did not answer for {passed:.0f} s ({why}){mend}")


def clamped(seconds: float) -> float:
    """Clamp a requested wait to the range from 0 to 1e9 seconds; NaN becomes 0."""
    return float(min(seconds, _LONG_WAIT)) if seconds > 0 else 0.0


def seconds_of(retry_after: str | None) -> float:
    """Seconds of a Retry-After header, which holds a number or a date; 0 if it is invalid."""
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
