"""Space, the description of what an optimizer searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.option import whole_number


@dataclass(frozen=True)
class Space:
    """A search space: d real or categorical variables.

    Args:
        dim: d, number of variables.
        blocks: B, number of equal blocks of a candidate: column b of the outputs (..., B) depends
            only on block b. 1: each output may depend on every variable.
        choices: (d,) numbers of values: variable i is categorical and has one of the values
            0 … choices[i] - 1, in no order. None: real variables. It is stored as a tuple.
        groups: numbers of neighbouring coordinates that belong together: several are the scores of
            a choice's values, of which the highest decides. None: each is a variable of its own.

    Raises:
        OptimizerError: a number is no whole number or below 1, ``blocks`` does not divide ``dim``,
            ``choices`` has another length than ``dim``, or ``groups`` another sum.
    """

    dim: int
    _: KW_ONLY
    blocks: int = 1
    choices: Sequence[int] | np.ndarray | None = None
    groups: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for name in ("dim", "blocks"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 1))
        if self.dim % self.blocks:
            raise OptimizerError(
                f"{self.dim} variables do not come in {self.blocks} equal blocks: make dim a "
                f"multiple of blocks"
            )
        if self.groups is not None:
            sizes = tuple(whole_number(f"groups[{i}]", n, 1) for i, n in enumerate(self.groups))
            if sum(sizes) != self.dim:
                raise OptimizerError(f"groups of {sizes} coordinates are not {self.dim} in all")
            object.__setattr__(self, "groups", sizes)
        if self.choices is None:
            return
        given = np.asarray(self.choices, dtype=object)
        if given.shape != (self.dim,):
            raise OptimizerError(
                f"choices of shape {given.shape} do not fit {self.dim} dimensions: give one number "
                f"for each"
            )
        counts = tuple(whole_number(f"choices[{i}]", n, 1) for i, n in enumerate(given))
        object.__setattr__(self, "choices", counts)

    def check(self, rows: np.ndarray) -> None:
        """Raise OptimizerError unless all points (k, d) lie in the space."""
        if self.choices is None:
            return
        if not ((rows >= 0) & (rows < self.choices) & (rows == np.rint(rows))).all():
            raise OptimizerError("a point is no choice of the space: give whole numbers from 0 on")

    @classmethod
    def of(cls, space: Space | int) -> Space:
        """A space as it is; a number of variables as the space of that many real variables.

        Raises:
            OptimizerError: ``space`` is neither a space nor a whole number of at least 1.
        """
        if isinstance(space, Dim):
            return space.space
        return space if isinstance(space, Space) else cls(space)


class Dim(int):
    """A number of variables from which :meth:`Space.of` recovers the whole space.

    :func:`create` passes it to constructors whose first parameter is an integer ``dim``.
    """

    space: Space

    @classmethod
    def of(cls, space: Space) -> Dim:
        """The number of variables of a space."""
        dim = cls(space.dim)
        dim.space = space
        return dim
