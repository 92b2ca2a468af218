"""Where a method stands."""

from __future__ import annotations

from dataclasses import dataclass

from craft_zoo.adapter import Solution


@dataclass(frozen=True)
class Step:
    """Where a method stands.

    Attributes:
        queries: made so far.
        solution: what would be deployed now. Its refiner may go on training: use it before the
            method goes on.
        loss: the smallest loss of the generation, NaN where no loss was computed.
        train_accuracy: of the best candidate on the training images, as deployed; NaN likewise.
        ended: why the search has ended before the budget, in words for the user.
    """

    queries: int
    solution: Solution
    loss: float = float("nan")
    train_accuracy: float = float("nan")
    ended: str | None = None
