"""Real, Integer and Choice, the variables of a mixed search space, and how they are searched."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from craft_zoo.optimizers.box import Box
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.option import as_int
from craft_zoo.optimizers.space import Space

# Columns of Result.history, which no variable may be named after.
RESERVED = ("evaluation", "loss", "best", "seconds", "violation", "error")


@dataclass(frozen=True)
class _Interval:
    """A variable with bounds, which has one coordinate, from 0 to 1."""

    low: Any
    high: Any
    log: bool = False

    _margin: ClassVar[float] = 0.0  # distance by which the range of a search exceeds the bounds
    _kind: ClassVar[str] = "finite numbers"

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, self.plain(getattr(self, name)))
        if self.low is None or self.high is None or not self.low < self.high:
            raise OptimizerError(f"{self!r} is no interval: give {self._kind}, the lower one first")
        try:
            finite = math.isfinite(self._ends[1] - self._ends[0])
        except OverflowError:  # of whole numbers
            finite = False
        if not finite:
            raise OptimizerError(
                f"the bounds of {type(self).__name__} are too far apart for floating-point "
                f"numbers: narrow them"
            )
        if self.log and self.low <= 0:
            raise OptimizerError(f"{self!r} has no logarithm: give bounds above 0, or log=False")

    def plain(self, value: Any) -> Any:
        """The value as a Python number; None if the variable cannot have it."""
        raise NotImplementedError

    @property
    def default(self) -> Any:
        """Where a search starts: the middle."""
        return self.value(np.array([0.5]))

    def units(self, value: Any) -> list[float]:
        """The coordinate of a value.

        Raises:
            OptimizerError: it is no value of this variable.
        """
        number = self.plain(value)
        if number is None or not self.low <= number <= self.high:
            raise OptimizerError(f"x0 has {value!r:.100}, which is no value of {self!r}")
        low, high = self._ends
        if self.log:
            return [math.log(number / low) / math.log(high / low)]
        return [(number - low) / (high - low)]

    def value(self, units: np.ndarray) -> Any:
        """The value at a coordinate."""
        (low, high), u = self._ends, float(units[0])
        at = low ** (1 - u) * high**u if self.log else low + u * (high - low)
        return min(max(at, self.low), self.high)

    @property
    def _ends(self) -> tuple[float, float]:
        """The values at the coordinates 0 and 1."""
        return self.low - self._margin, self.high + self._margin


@dataclass(frozen=True)
class Real(_Interval):
    """A real variable between two bounds.

    Args:
        low: least value.
        high: greatest value.
        log: search the logarithm, for a variable whose order of magnitude is sought.

    Raises:
        OptimizerError: the bounds are not finite, not in ascending order, not above 0 with
            ``log``, or too far apart for floating-point numbers.
    """

    low: float
    high: float
    log: bool = False

    def plain(self, value: Any) -> float | None:
        """The value as a Python number; None if it is no finite number."""
        try:
            number = math.nan if isinstance(value, str | bytes) else float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Integer(_Interval):
    """A whole number between two bounds, both included; see :class:`Real` for the arguments.

    Raises:
        OptimizerError: as :class:`Real`, or numbers beyond 2^53 are too close to one another.
    """

    low: int
    high: int
    log: bool = False

    _margin: ClassVar[float] = 0.5  # so that, without log, each number has an equal part
    _kind: ClassVar[str] = "whole numbers"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.high - self.low < 2**53 < max(abs(self.low), abs(self.high)):
            raise OptimizerError(
                f"{self!r} has numbers that floating-point numbers do not tell apart: search their "
                f"distance from the lowest one"
            )

    def plain(self, value: Any) -> int | None:
        """The value as a Python integer; None if it is no whole number."""
        return as_int(value)

    def value(self, units: np.ndarray) -> int:
        """The value at a coordinate, rounded."""
        return round(super().value(units))


@dataclass(frozen=True)
class Choice:
    """One of several values of any kind, in no order.

    Args:
        values: two or more; the search starts at the first. They are stored as a tuple.

    Raises:
        OptimizerError: there are fewer than two.
    """

    values: Sequence[Any]

    def __post_init__(self) -> None:
        values: tuple[Any, ...] = ()
        if isinstance(self.values, Iterable) and not isinstance(self.values, str):
            values = tuple(self.values)
        if len(values) < 2:
            raise OptimizerError(f"{self!r} is no choice: give a list of two values or more")
        object.__setattr__(self, "values", values)

    @property
    def default(self) -> Any:
        """Where a search starts: the first value."""
        return self.values[0]

    def index(self, value: Any) -> int:
        """The place of a value.

        Raises:
            OptimizerError: it is none of the values.
        """
        for i, each in enumerate(self.values):
            if each is value or (type(each) is type(value) and np.array_equal(each, value)):
                return i
        raise OptimizerError(f"x0 has {value!r:.100}, which is no value of {self!r:.300}")

    def plain(self, value: Any) -> Any:
        """The value as it is in :attr:`values`."""
        return self.values[self.index(value)]

    def units(self, value: Any) -> list[float]:
        """The coordinates of a value: a score for each, nearly equal so that all are tried."""
        return [0.51 if i == self.index(value) else 0.49 for i in range(len(self.values))]

    def value(self, units: np.ndarray) -> Any:
        """The value with the highest score."""
        return self.values[int(np.argmax(units))]


Variable = Real | Integer | Choice


class Variables:
    """Named variables, or a list of them, as coordinates from 0 to 1 that an optimizer searches.

    Whole numbers are rounded, and the value of a choice is the one with the highest score. If there
    are only choices, and the optimizer can search choices, it searches them without coordinates.

    Attributes:
        space: the space that the optimizer searches.
        start: x0, a dict or a list of plain Python values.
        rounded: whether coordinates are rounded, to whole numbers or choices.
    """

    def __init__(self, variables: Any, x0: Any, *, natively: bool) -> None:
        named = isinstance(variables, Mapping)
        if not named and not isinstance(variables, list | tuple):
            raise OptimizerError(
                f"space must be a dict or a list of variables, not {variables!r:.100}"
            )
        self._names = list(variables) if named else None
        self._variables: list[Variable] = list(variables.values() if named else variables)
        for each in self._variables:
            if not isinstance(each, Variable):
                raise OptimizerError(
                    f"space has {each!r:.100}, which is no variable: write Real(low, high), "
                    f"Integer(low, high) or Choice([values])"
                )
        if not self._variables:
            raise OptimizerError("space has no variable: give one or more")
        for name in {*RESERVED} & {*self._columns()}:
            raise OptimizerError(
                f"a variable cannot be called {name!r}, which is a column of history: rename it"
            )
        if len({*self._columns()}) < len(self._variables):
            raise OptimizerError("two variables have the same name in history: rename one")
        values = self._given(x0)
        units = [v.units(x) for v, x in zip(self._variables, values, strict=True)]
        plain = [v.plain(x) for v, x in zip(self._variables, values, strict=True)]
        self.start = self._pack(plain)
        self._choices = [each for each in self._variables if isinstance(each, Choice)]
        self.rounded = any(not isinstance(each, Real) for each in self._variables)
        self._box: Box | None = None
        if natively and len(self._choices) == len(values):
            self._first = [v.index(x) for v, x in zip(self._choices, values, strict=True)]
            self.space = Space(len(values), choices=[len(each.values) for each in self._choices])
            return
        self._cuts = np.cumsum([len(each) for each in units])[:-1]
        self._box = Box(np.concatenate(units).clip(0, 1), (0, 1), None)
        groups = [len(each) for each in units] if self._choices else None
        self.space = Space(self._box.space.dim, groups=groups)

    def point(self, z: np.ndarray) -> dict[str, Any] | list[Any]:
        """The point for the optimizer's variables (d,); the origin is the start."""
        if self._box is None:
            counts = np.array(self.space.choices)
            chosen = (z.astype(np.int64) + self._first) % counts
            return self._pack([v.values[i] for v, i in zip(self._choices, chosen, strict=True)])
        return self._pack([v.value(u) for v, u in self._parts(self._box, z)])

    def key(self, z: np.ndarray) -> tuple[Any, ...]:
        """A value that is equal for the optimizer's variables of the same point."""
        if self._box is None:
            return tuple(z.astype(np.int64).tolist())
        pairs = self._parts(self._box, z)
        return tuple(int(np.argmax(u)) if isinstance(v, Choice) else v.value(u) for v, u in pairs)

    def _parts(self, box: Box, z: np.ndarray) -> Iterator[tuple[Variable, np.ndarray]]:
        """Each variable with its units, numbers from 0 to 1."""
        return zip(self._variables, np.split(box.point(z), self._cuts), strict=True)

    def table(self, points: Sequence[Any]) -> dict[str, list[Any]]:
        """A column for each variable."""
        keys = range(len(self._variables)) if self._names is None else self._names
        columns = zip(self._columns(), keys, strict=True)
        return {column: [point[key] for point in points] for column, key in columns}

    def _columns(self) -> list[str]:
        if self._names is None:
            return [f"x{i}" for i in range(len(self._variables))]
        return [str(name) for name in self._names]

    def _pack(self, values: list[Any]) -> dict[str, Any] | list[Any]:
        return values if self._names is None else dict(zip(self._names, values, strict=True))

    def _given(self, x0: Any) -> list[Any]:
        """The value of each variable at the start."""
        if x0 is None:
            return [each.default for each in self._variables]
        if self._names is not None and isinstance(x0, Mapping) and {*x0} <= {*self._names}:
            named = zip(self._names, self._variables, strict=True)
            given = [x0.get(name, each.default) for name, each in named]
        elif self._names is None and np.iterable(x0) and not isinstance(x0, Mapping | str):
            given = list(x0)
        else:
            given = []
        if len(given) != len(self._variables):
            kind = f"a list of {len(self._variables)} values"
            if self._names is not None:
                kind = f"a dict with values of {', '.join(map(str, self._names))}"
            raise OptimizerError(f"x0 does not fit the space: give {kind}")
        return given
