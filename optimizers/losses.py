"""Losses as functions return them, as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from craft_zoo.optimizers.errors import OptimizerError


def unmasked(value: Any) -> Any:
    """The value; of a masked array of numpy, with NaN where it is masked.

    Its data there mean nothing, and numpy gives them without a word: 0 for a masked number.
    """
    if isinstance(value, np.ma.MaskedArray) and value.dtype.kind in "biuf":
        return np.ma.filled(value.astype(np.float64), np.nan)
    return value


def one_number(value: Any) -> float:
    """The number that a loss is: of Python or numpy, or an array or tensor of one element.

    Raises:
        OptimizerError: ``value`` is something else.
    """
    value = unmasked(value)
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except OverflowError:  # a whole number of Python beyond all floats
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError, RuntimeError):
        raise OptimizerError(f"a loss must be one number, not {value!r:.100}") from None


def numbers(losses: Iterable[Any] | np.ndarray) -> np.ndarray:
    """Losses as an array of float64: a number, or (k,) of any collection of k numbers.

    Raises:
        OptimizerError: one is no number.
    """
    try:
        if getattr(getattr(losses, "dtype", None), "kind", "") == "c":
            raise TypeError("numpy would drop the imaginary parts")
        values = np.asarray(unmasked(losses), dtype=np.float64)
    # a generator, tensors that numpy cannot read, or whole numbers beyond all floats
    except (TypeError, ValueError, RuntimeError, OverflowError):
        values = np.array([one_number(each) for each in losses], dtype=np.float64)
    # arrays or tensors of one element
    return values.ravel() if values.ndim and values.size == len(values) else values
