"""EventLog, the record of what an optimizer was told, by which restore repeats its search."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

# Kinds of events: the first rows of a generation were told, a generation was asked for, a row of it
# was told alone, candidates were asked ahead, one of them was told, points were added.
TELL, ASK, ROW, AHEAD, LATE, ADD = range(6)


class EventLog:
    """The events of a search in their order, with all losses; the seed and they determine it.

    Attributes:
        checksum: of the candidates that were told.
        extensions: (evaluations by then, evaluations added to the budget).
    """

    def __init__(self) -> None:
        self.checksum = 0
        self.extensions: list[tuple[int, int]] = []
        self._events: list[tuple[int, int]] = []  # kind, and a count or a place
        self._losses: list[np.ndarray] = []
        self._outputs: list[np.ndarray] = []
        self._added: list[np.ndarray] = []

    def enter(
        self,
        kind: int,
        number: int,
        losses: np.ndarray | None = None,
        outputs: Sequence[np.ndarray] | None = None,
        points: np.ndarray | None = None,
    ) -> None:
        """Enter an event, with its losses, outputs and, of kind ADD, its points (k, d)."""
        self._events.append((kind, number))
        if losses is not None:
            self._losses.append(losses)
        if outputs is not None:
            self._outputs.append(np.stack(outputs))
        if points is not None:
            self._added.append(points)

    def enter_asked(self) -> None:
        """Enter that a generation was asked for, unless that was the last event."""
        if not self._events or self._events[-1][0] != ASK:
            self.enter(ASK, 0)

    def check(self, told: np.ndarray) -> None:
        """Add candidates (k, d) to the checksum."""
        # The first coordinate suffices: a search that differs will differ there too.
        self.checksum = zlib.crc32(told[:, 0].tobytes(), self.checksum)

    def take_back_rows(self, count: int) -> bool:
        """Remove the rows of a generation that were told one by one, and that it was asked for.

        Returns:
            False, and nothing is removed, if something else happened in between.
        """
        if [kind for kind, _ in self._events[-count:]] != [ROW] * count:
            return False
        del self._events[-count:], self._losses[-count:], self._outputs[-count:]
        if self._events and self._events[-1][0] == ASK:
            del self._events[-1]
        return True

    def arrays(self, dim: int) -> dict[str, np.ndarray]:
        """All but checksum and extensions as arrays, of a search of ``dim`` variables."""
        told = [number for kind, number in self._events if kind == TELL]
        arrays = {
            "generations": np.array(told, dtype=np.int64),
            "losses": np.concatenate([np.zeros(0), *self._losses]),
        }
        if self._outputs:
            arrays["outputs"] = np.concatenate(self._outputs)
        if any(kind not in (TELL, ASK) for kind, _ in self._events):
            arrays["journal"] = np.array(self._events, dtype=np.int64)
            arrays["added"] = np.concatenate([np.zeros((0, dim)), *self._added])
        return arrays
