"""Box, the real variables of an array with bounds, as an optimizer searches them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.space import Space


class Box:
    """The variables x = x0 + scale · z of a function, reflected at their bounds.

    Attributes:
        space: the space that the optimizer searches.
        start: x0.
        rounded: False, as coordinates are not rounded.
    """

    rounded = False

    def __init__(self, x0: Any, bounds: Any, scale: Any) -> None:
        if x0 is None and bounds is None:
            raise OptimizerError("give the start x0, or bounds: the start is then their middle")
        try:
            if hasattr(bounds, "lb"):
                bounds = np.stack(np.broadcast_arrays(bounds.lb, bounds.ub), axis=-1)
            sides = np.array((None, None) if bounds is None else bounds, dtype=np.float64)
            if sides.shape[-1:] != (2,):
                raise ValueError(f"bounds have the shape {sides.shape}")
            low, high = sides.reshape(-1, 2).T
            self._low, self._high = np.fmax(low, -np.inf), np.fmin(high, np.inf)  # None is NaN here
            if x0 is None and np.isinf([self._low, self._high]).any():
                raise OptimizerError("a variable has no bound on one side: give the start x0")
            start = self._low / 2 + self._high / 2 if x0 is None else x0
            if np.iscomplexobj(start):
                raise ValueError("x0 is complex")
            self.start = np.array(start, dtype=np.float64)
            self._low, self._high = (
                _spread(each, self.start.ravel(), "bounds").reshape(self.start.shape)
                for each in (self._low, self._high)
            )
            with np.errstate(over="ignore"):
                width = self._high - self._low
            sizes = np.where(np.isfinite(width), width / 5, 1.0) if scale is None else scale
            self._scale = _spread(np.asarray(sizes, np.float64), self.start, "scales")
        except OptimizerError:  # which is a ValueError, too
            raise
        except (TypeError, ValueError, RuntimeError) as error:
            raise OptimizerError(
                f"x0, bounds and scale do not fit each other ({error}): give a start, one pair "
                f"(low, high) or one for each variable, and one scale or one for each variable"
            ) from None
        if not self.start.size or not np.isfinite(self.start).all():
            raise OptimizerError("x0 must be one finite number or more")
        if (self._low > self._high).any():
            raise OptimizerError("a lower bound is above its upper bound: write (low, high)")
        if not ((self._low <= self.start) & (self.start <= self._high)).all():
            raise OptimizerError("x0 lies outside the bounds: move it, or widen them")
        if scale is None and not self._scale.any():
            raise OptimizerError("the bounds leave no variable free: widen those of one")
        if not (np.isfinite(self._scale) & (self._scale >= 0)).all() or not self._scale.any():
            raise OptimizerError("scale must be finite and above 0: give lengths of first steps")
        self.space = Space(self.start.size)

    def point(self, z: np.ndarray) -> np.ndarray:
        """The point x in the shape of the start, for the optimizer's variables (d,)."""
        x = np.asarray(self.start + self._scale * z.reshape(self.start.shape))
        low, high = self._low, self._high
        if ((low <= x) & (x <= high)).all():
            return x
        with np.errstate(invalid="ignore", divide="ignore"):
            width = high - low
            between = low + width - np.abs(np.mod(x - low, 2 * width) - width)
            above, below = low + np.abs(x - low), high - np.abs(high - x)
        reflected = np.where(np.isfinite(width), between, np.where(np.isfinite(low), above, below))
        reflected = np.where(width > 0, reflected, low)
        return np.where((low <= x) & (x <= high), x, np.clip(reflected, low, high))

    def key(self, z: np.ndarray) -> bytes:
        """A value that is equal for the optimizer's variables of the same point."""
        return bytes((self.point(z) + 0.0).tobytes())

    def table(self, points: Sequence[np.ndarray]) -> dict[str, list[Any]]:
        """No columns, as the variables have no names."""
        return {}


def _spread(values: np.ndarray, start: np.ndarray, what: str) -> np.ndarray:
    """One value for each variable of the start.

    Raises:
        ValueError: there are neither one nor as many as variables.
    """
    try:
        return np.broadcast_to(values, start.shape)
    except ValueError:
        raise ValueError(f"{what} of {values.size} variables, but x0 has {start.size}") from None
