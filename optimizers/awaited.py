"""Awaited, the candidates that were asked for and whose losses are not known yet."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.event_log import LATE, ROW


class Awaited:
    """The candidates of an optimizer of d variables whose losses it was not told.

    Attributes:
        generation: (λ, d) read-only, the present generation; None: it is not asked for yet.
        answers: row of the generation that was told alone → its loss and output; after a restore
            from a snapshot, before that generation is asked for.
        handed: number of rows of the generation that were handed out one by one.
        swapped: whether some rows of the generation were asked earlier, or ahead.
        ahead: number → candidate (d,) that was asked ahead of the generation's losses.
        to_hand: numbers of those that nobody has, as after a restore.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self.generation: np.ndarray | None = None
        self.answers: dict[int, tuple[float, Any]] = {}
        self.handed, self.swapped = 0, False
        self.ahead: dict[int, np.ndarray] = {}
        self.to_hand: list[int] = []
        self._drawn_ahead = 0

    def begin(self, generation: np.ndarray) -> None:
        """Await the losses of a generation, which becomes read-only."""
        self.generation, self.handed, self.swapped = read_only(generation), 0, False

    def end(self) -> tuple[np.ndarray, list[tuple[float, Any]]]:
        """The generation, and the loss and output of each row; the next one can begin."""
        assert self.generation is not None
        told, self.generation = self.generation, None
        answers = [self.answers[row] for row in range(len(told))]
        self.answers, self.handed = {}, 0
        return told, answers

    @property
    def is_answered(self) -> bool:
        """Whether all losses of the generation were told."""
        return self.generation is not None and len(self.answers) == len(self.generation)

    def untold(self) -> np.ndarray:
        """(n, d) the rows of the generation without a loss."""
        assert self.generation is not None
        return read_only(self.generation[self._untold_rows()]) if self.answers else self.generation

    def _untold_rows(self) -> list[int]:
        assert self.generation is not None
        return [row for row in range(len(self.generation)) if row not in self.answers]

    @property
    def count(self) -> int:
        """Number of candidates whose losses are awaited."""
        rows = 0 if self.generation is None else len(self.generation) - len(self.answers)
        return rows + len(self.ahead)

    def hand_ahead(self, count: int) -> list[np.ndarray]:
        """At most ``count`` of the candidates asked ahead that nobody has."""
        numbers, self.to_hand = self.to_hand[:count], self.to_hand[count:]
        return [self.ahead[number] for number in numbers]

    def hand_rows(self, count: int) -> list[np.ndarray]:
        """At most ``count`` of the rows of the generation that nobody has."""
        assert self.generation is not None
        rows: list[np.ndarray] = []
        while len(rows) < count and self.handed < len(self.generation):
            if self.handed not in self.answers:
                rows.append(self.generation[self.handed])
            self.handed += 1
        return rows

    def add_ahead(self, candidate: np.ndarray) -> int:
        """Await the loss of a candidate asked ahead, read-only; returns its number."""
        number = self._drawn_ahead
        self.ahead[number] = candidate
        self._drawn_ahead += 1
        return number

    def take_ahead(self, number: int) -> np.ndarray:
        """Remove a candidate that was asked ahead."""
        if number in self.to_hand:
            self.to_hand.remove(number)
        return self.ahead.pop(number)

    def swap(self, number: int) -> int:
        """Let a candidate asked ahead take the place of a row that is still awaited.

        Returns:
            The row of the generation.
        """
        assert self.generation is not None
        place, generation = max(self._untold_rows()), self.generation.copy()
        awaited, generation[place] = generation[place].copy(), self.take_ahead(number)
        self.generation, self.swapped = read_only(generation), True
        later = self.add_ahead(read_only(awaited))
        if place >= self.handed:
            self.to_hand.append(later)
        return place

    def places(self, candidates: np.ndarray) -> list[tuple[int, int]]:
        """Where each of the candidates was asked for: ROW and its row, or LATE and its number.

        Raises:
            OptimizerError: one was not asked for, or its loss is known.
        """
        asked = np.zeros((0, self._dim)) if self.generation is None else self.generation
        given = np.asarray(candidates)
        # Adding 0 turns -0 into 0, which equals it.
        waiting = [(ROW, row, each) for row, each in enumerate(asked + 0.0)]
        waiting = [each for each in waiting if each[1] not in self.answers]
        waiting += [(LATE, number, each + 0.0) for number, each in self.ahead.items()]
        # Of equal candidates, one that somebody has was evaluated: if the loss went to another,
        # nobody would tell that of the first.
        waiting.sort(key=lambda each: self._is_unasked(each[0], each[1]))
        places: dict[bytes, list[tuple[int, int]]] = {}
        for kind, place, row in waiting:
            places.setdefault(row.tobytes(), []).append((kind, place))
        found = []
        if given.ndim == 2 and given.dtype == np.float64:
            found = [each.pop(0) for row in given + 0.0 if (each := places.get(row.tobytes()))]
        if not found or len(found) != len(given):
            same = given.shape == asked.shape
            what = "other values" if same else f"shape {given.shape}, not {asked.shape}"
            raise OptimizerError(
                f"the candidates passed to tell differ from those that ask returned ({what}): pass "
                f"what ask returned, or rows of it, each once; add() takes other points"
            )
        return found

    def _is_unasked(self, kind: int, place: int) -> bool:
        """Whether nobody has a candidate; those of a generation asked as a whole count as so."""
        return place in self.to_hand if kind == LATE else place >= self.handed

    def arrays(self) -> dict[str, np.ndarray]:
        """The losses that were told of an incomplete generation."""
        if not self.answers:
            return {}
        losses, outputs = zip(*self.answers.values(), strict=True)
        answered = {"rows": np.array(list(self.answers)), "row_losses": np.array(losses)}
        return answered | ({} if outputs[0] is None else {"row_outputs": np.stack(outputs)})


def read_only(candidates: np.ndarray) -> np.ndarray:
    """The same array, which cannot be written to any more."""
    candidates.flags.writeable = False
    return candidates
