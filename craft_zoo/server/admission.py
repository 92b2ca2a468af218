"""Admission control: limits on concurrent requests and on the bytes that they hold."""

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

_LAST_SECONDS = 2.0  # time limit for request bodies once the server is being stopped


class Admission:
    """Admits requests while request slots and memory are free. :meth:`hold`, :meth:`release` and
    :meth:`hurry` are thread-safe; all other methods must run in the event loop's thread.

    A request occupies one of its account's slots while its body arrives, and one of the server's
    slots only from then on, so that slow clients do not block others.

    Args:
        limits: ``waiting``, ``waiting_each``, ``held_bytes`` and ``held_each`` are used.

    Attributes:
        held: bytes of all requests and answers.
        most: bytes that one account may hold, see :attr:`Limits.held_each`; less than
            ``held_bytes``, as a rule, so that one account cannot block the others.
        is_hurried: whether the server is being stopped, see :meth:`hurry`.
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
        """Number of requests in progress, including those whose bodies are still arriving."""
        return self._inside.total()

    @contextmanager
    def enter(self, account: str) -> Iterator[Reservation]:
        """Reserve one of the account's slots for a request for the duration of the context.

        Raises:
            Refusal: all slots are taken.
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
            self._inside += Counter()  # removes accounts whose count is zero
            self._begun -= load.is_begun
            self.release(account, load.bytes)

    def begin(self) -> None:
        """Take one of the server's slots, see :meth:`Reservation.begin`.

        Raises:
            Refusal: all slots are taken.
        """
        self._check_places()
        self._begun += 1

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

    def hurry(self) -> None:
        """Limit bodies that are arriving to two more seconds. Thread-safe."""
        self.is_hurried = True
        for loop, limit in list(self._arriving):
            loop.call_soon_threadsafe(_shorten, limit)

    @asynccontextmanager
    async def arriving(self, seconds: float) -> AsyncIterator[None]:
        """Limit the time in which a request body arrives, in seconds.

        Raises:
            TimeoutError: the body did not arrive in time.
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
        """The account's lock. Holding it for each part of the work lets accounts alternate."""
        return self._turns.setdefault(account, asyncio.Lock())

    def _check_places(self) -> None:
        if self._begun >= self._limits.waiting:
            raise busy(f"{self._begun} requests are under way")


def _shorten(limit: asyncio.Timeout) -> None:
    ends = asyncio.get_running_loop().time() + _LAST_SECONDS
    if not limit.expired():
        limit.reschedule(min(limit.when() or ends, ends))


class Reservation:
    """The slots and the bytes that one request holds.

    Attributes:
        bytes: number of bytes held.
        is_begun: whether the body is complete and the request holds one of the server's slots.
    """

    def __init__(self, admission: Admission, account: str) -> None:
        self._admission, self._account = admission, account
        self.bytes = 0
        self.is_begun = False

    @property
    def is_hurried(self) -> bool:
        """See :class:`Admission`."""
        return self._admission.is_hurried

    def arriving(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """See :meth:`Admission.arriving`."""
        return self._admission.arriving(seconds)

    def begin(self) -> None:
        """Take one of the server's slots once the body is complete, see :meth:`Admission.begin`."""
        if not self.is_begun:
            self._admission.begin()
            self.is_begun = True

    def add(self, size: int) -> None:
        """Reserve more bytes, see :meth:`Admission.hold`.

        Raises:
            Refusal: as :meth:`Admission.hold`, or the request exceeds the account's limit alone.
        """
        if self.bytes + size > self._admission.most:
            raise Refusal(
                ErrorCode.TOO_LARGE,
                f"the request needs more than {self._admission.most:,} bytes of memory: ask for "
                f"less at a time",
            )
        self._admission.hold(self._account, size)
        self.bytes += size
