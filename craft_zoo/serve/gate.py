"""How much is under way at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from craft_zoo.serve.limits import Limits
from craft_zoo.serve.refusal import busy


class Gate:
    """Lets requests in as long as there is room. Used by the event loop's thread only.

    Args:
        limits: ``waiting``, ``waiting_each`` and ``held_bytes`` of them.

    Attributes:
        held: bytes of requests and answers.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._inside: Counter[str] = Counter()
        self.held = 0

    @property
    def inside(self) -> int:
        """Requests that are under way."""
        return self._inside.total()

    @contextmanager
    def enter(self, account: str) -> Iterator[Load]:
        """Hold a place for a request.

        Raises:
            Refusal: there is none.
        """
        if self._inside[account] >= self._limits.waiting_each:
            raise busy(f"{self._inside[account]} requests of this account are under way")
        if self.inside >= self._limits.waiting:
            raise busy(f"{self.inside} requests are under way")
        self._inside[account] += 1
        load = Load(self)
        try:
            yield load
        finally:
            self._inside[account] -= 1
            self.held -= load.bytes

    def hold(self, size: int) -> None:
        """Count bytes as held.

        Raises:
            Refusal: there are too many.
        """
        if self.held + size > self._limits.held_bytes:
            raise busy("the server's memory is in use")
        self.held += size


class Load:
    """What one request holds.

    Attributes:
        bytes: so many.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.bytes = 0

    def add(self, size: int) -> None:
        """Hold more, see :meth:`Gate.hold`."""
        self._gate.hold(size)
        self.bytes += size
