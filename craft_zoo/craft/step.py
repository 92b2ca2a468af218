"""The state of a method after a generation."""

from __future__ import annotations

from dataclasses import dataclass

from craft_zoo.solution import Solution


@dataclass(frozen=True)
class Step:
    """The state of a method after a generation.

    Attributes:
        queries: number of queries so far.
        solution: the solution that would be deployed now. Its refiner may be trained further: use
            it before requesting the next step.
        loss: the smallest loss of the generation; NaN if no loss was computed.
        train_accuracy: accuracy of the generation's best candidate on the training images, with the
            refiner; NaN if it was not computed.
        ended: why the search ended before the budget was spent, as a sentence for the user.
        deployed_accuracy: accuracy of ``solution`` on the training images; NaN if its prompt was
            not queried on them.
    """

    queries: int
    solution: Solution
    loss: float = float("nan")
    train_accuracy: float = float("nan")
    ended: str | None = None
    deployed_accuracy: float = float("nan")
