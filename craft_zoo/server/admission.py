"""Admission control: limits on concurrent requests, on the bytes that they hold, and on rates."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from craft_zoo.protocol import ErrorCode
from craft_zoo.server.errors import Refusal, busy
from craft_zoo.server.limits import Limits

_LAST_SECONDS = 2.0  # time limit for request bodies once the server is being stopped


class Admission:
    """Admits requests while request slots and memory are free. :meth:`hold` and :meth:`release`
    are thread-safe; all other methods must run in the event loop's thread.

    A request occupies one of its account's slots while its body arrives, and one of the server's
    slots only from then on, so that slow clients do not block others.

    Args:
        limits: ``waiting``, ``waiting_each``, ``held_bytes`` and ``held_each`` are used.

    Attributes:
        arriving: time limits of the request bodies that are arriving.
        slots_taken: number of the server's slots that are taken.
        held: bytes of all requests and answers.
        most: maximum bytes of one account, see :attr:`Limits.held_each`.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self.most = limits, limits.held_each
        self._by_account: Counter[str] = Counter()
        self.slots_taken = 0
        self.arriving: set[asyncio.Timeout] = set()
        self._lock = threading.Lock()
        self._held_each: Counter[str] = Counter()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.held = 0

    @property
    def in_progress(self) -> int:
        """Number of requests in progress, including those whose bodies are still arriving."""
        return self._by_account.total()

    @contextmanager
    def enter(self, account: str) -> Iterator[Reservation]:
        """Reserve one of the account's slots for a request for the duration of the context.

        Raises:
            Refusal: all slots are taken.
        """
        if self._by_account[account] >= self._limits.waiting_each:
            raise busy(f"{self._by_account[account]} requests of this account are under way")
        self.check_slots()
        self._by_account[account] += 1
        reservation = Reservation(self, account)
        try:
            yield reservation
        finally:
            self._by_account[account] -= 1
            self._by_account += Counter()  # removes accounts whose count is zero
            self.slots_taken -= reservation.has_slot
            self.release(account, reservation.bytes)

    def hold(self, account: str, size: int) -> None:
        """Reserve bytes for an account.

        Raises:
            Refusal: the server or the account would hold more than its limit.
        """
        with self._lock:
            if self.held + size > self._limits.held_bytes:
                raise busy("the server's memory is in use")
            if self._held_each[account] + size > self.most:
                raise busy("the account's share of the server's memory is in use")
            self.held += size
            self._held_each[account] += size

    def release(self, account: str, size: int) -> None:
        """Release bytes that an account has reserved."""
        with self._lock:
            self.held -= size
            self._held_each[account] -= size
            self._held_each += Counter()

    def shorten_timeouts(self) -> None:
        """Limit bodies that are arriving to two more seconds, as the server is being stopped."""
        ends = asyncio.get_running_loop().time() + _LAST_SECONDS
        for limit in self.arriving:
            if not limit.expired():
                limit.reschedule(min(limit.when() or ends, ends))

    def turn(self, account: str) -> asyncio.Lock:
        """The account's lock. Holding it for each part of the work lets accounts alternate."""
        return self._turns.setdefault(account, asyncio.Lock())

    def check_slots(self) -> None:
        """Check that one of the server's slots is free.

        Raises:
            Refusal: all slots are taken.
        """
        if self.slots_taken >= self._limits.waiting:
            raise busy(f"{self.slots_taken} requests are under way")


class Reservation:
    """The slots and the bytes that one request holds.

    Attributes:
        admission: the admission control that made it.
        bytes: number of bytes held.
        has_slot: whether the body is complete and the request holds one of the server's slots.
    """

    def __init__(self, admission: Admission, account: str) -> None:
        self.admission, self._account = admission, account
        self.bytes = 0
        self.has_slot = False

    def take_slot(self) -> None:
        """Take one of the server's slots once the body is complete.

        Raises:
            Refusal: all slots are taken.
        """
        if not self.has_slot:
            self.admission.check_slots()
            self.admission.slots_taken += 1
            self.has_slot = True

    def add(self, size: int) -> None:
        """Reserve more bytes, see :meth:`Admission.hold`.

        Raises:
            Refusal: as :meth:`Admission.hold`, or the request exceeds the account's limit alone.
        """
        if self.bytes + size > self.admission.most:
            raise Refusal(
                ErrorCode.TOO_LARGE,
                f"the request needs more than {self.admission.most:,} bytes of memory: ask for "
                f"less at a time",
            )
        self.admission.hold(self._account, size)
        self.bytes += size


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
