"""Limits of the requests, and of their bytes, that the server works on at once."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from weakref import WeakValueDictionary

from craft_zoo.protocol import ErrorCode
from craft_zoo.server.errors import Refusal, busy
from craft_zoo.server.limits import Limits

_LAST_SECONDS = 2.0  # that bodies have to come in once the server is being stopped


class Admission:
    """Admits requests while there are places and memory for them. Bytes may be counted from any
    thread; everything else belongs to the event loop's.

    A request takes one of its account's places while its body arrives, and one of the server's
    places only from then on, so that slow clients do not block others.

    Args:
        limits: of which ``waiting``, ``waiting_each`` and ``held_bytes`` are used.

    Attributes:
        held: bytes of all requests and answers.
        most: bytes that one account may hold: half of ``held_bytes``, so that it cannot block the
            others.
        is_hurried: the server is being stopped, see :meth:`hurry`.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self.most = limits, limits.held_each
        self._inside: Counter[str] = Counter()
        self._begun = 0
        self._lock = threading.Lock()
        self._held_each: Counter[str] = Counter()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._arriving: set[tuple[asyncio.AbstractEventLoop, asyncio.Timeout]] = set()
        self.is_hurried = False
        self.held = 0

    @property
    def inside(self) -> int:
        """Number of requests being worked on, or whose bodies are arriving."""
        return self._inside.total()

    @contextmanager
    def enter(self, account: str) -> Iterator[Reservation]:
        """Hold a place for a request while the context lasts.

        Raises:
            Refusal: all places are taken.
        """
        if self._inside[account] >= self._limits.waiting_each:
            raise busy(f"{self._inside[account]} requests of this account are under way")
        self._check_places()
        self._inside[account] += 1
        load = Reservation(self, account)
        try:
            yield load
        finally:
            self._inside[account] -= 1
            self._inside += Counter()  # forgets accounts that have none
            self._begun -= load.is_begun
            self.release(account, load.bytes)

    def begin(self) -> None:
        """Take one of the server's places, see :meth:`Reservation.begin`.

        Raises:
            Refusal: all places are taken.
        """
        self._check_places()
        self._begun += 1

    def hold(self, account: str, size: int) -> None:
        """Count bytes as held.

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
        """Count bytes as released."""
        with self._lock:
            self.held -= size
            self._held_each[account] -= size
            self._held_each += Counter()

    def hurry(self) -> None:
        """Give bodies that are arriving two seconds more at most; may be called from any thread."""
        self.is_hurried = True
        for loop, limit in list(self._arriving):
            loop.call_soon_threadsafe(_shorten, limit)

    @asynccontextmanager
    async def arriving(self, seconds: float) -> AsyncIterator[None]:
        """Limit the time in which a body comes in.

        Raises:
            TimeoutError: it has not come.
        """
        async with asyncio.timeout(seconds) as limit:
            mine = asyncio.get_running_loop(), limit
            self._arriving.add(mine)
            if self.is_hurried:
                _shorten(limit)
            try:
                yield
            finally:
                self._arriving.discard(mine)

    def turn(self, account: str) -> asyncio.Lock:
        """The lock under which the account is worked for, so that accounts take turns."""
        turn = self._turns.get(account)
        if turn is None:
            self._turns[account] = turn = asyncio.Lock()
        return turn

    def _check_places(self) -> None:
        if self._begun >= self._limits.waiting:
            raise busy(f"{self._begun} requests are under way")


def _shorten(limit: asyncio.Timeout) -> None:
    ends = asyncio.get_running_loop().time() + _LAST_SECONDS
    if not limit.expired():
        limit.reschedule(min(limit.when() or ends, ends))


class Reservation:
    """The place and the bytes that one request holds.

    Attributes:
        bytes: number of bytes held.
        is_begun: whether the body is complete and the request holds one of the server's places.
    """

    def __init__(self, gate: Admission, account: str) -> None:
        self._gate, self._account = gate, account
        self.bytes = 0
        self.is_begun = False

    @property
    def is_hurried(self) -> bool:
        """See :class:`Admission`."""
        return self._gate.is_hurried

    def arriving(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """See :meth:`Admission.arriving`."""
        return self._gate.arriving(seconds)

    def begin(self) -> None:
        """The body is complete: take one of the server's places, see :meth:`Admission.begin`."""
        if not self.is_begun:
            self._gate.begin()
            self.is_begun = True

    def add(self, size: int) -> None:
        """Hold more bytes, see :meth:`Admission.hold`.

        Raises:
            Refusal: as there; or the request alone would hold more than an account may.
        """
        if self.bytes + size > self._gate.most:
            raise Refusal(
                ErrorCode.TOO_LARGE,
                f"the request takes more than {self._gate.most:,} bytes with all that it brings: "
                f"ask for less at a time",
            )
        self._gate.hold(self._account, size)
        self.bytes += size
