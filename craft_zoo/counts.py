"""Counts: whole numbers, checked, and in words with nouns in singular or plural."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.errors import CraftZooError
from craft_zoo.optimizers.option import as_int

_AFTER_VOWEL = ("ay", "ey", "oy", "uy")
_HISSING = ("s", "x", "ch", "sh")


def checked_whole(name: str, value: Any, least: int) -> int:
    """A whole number of Python or NumPy as an int.

    Raises:
        CraftZooError: it is none, or below ``least``; the message calls it ``name``.
    """
    number = as_int(value)
    if number is None or number < least:
        raise CraftZooError(f"{name} must be a whole number, at least {least}, not {value!r}")
    return number


def with_plain_numbers(record: Any) -> None:
    """Make NumPy's numbers in a frozen dataclass Python's, which JSON can hold."""
    for name, value in vars(record).items():
        if isinstance(value, np.generic):
            object.__setattr__(record, name, value.item())


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 query``, ``2,000 queries``, ``0 test images``.

    Args:
        number: the count.
        noun: singular noun, which may have words before it, as in ``test image``.
    """
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Plural of a regular noun: ``queries``, ``classes``, ``images``."""
    if noun.endswith("y") and not noun.endswith(_AFTER_VOWEL):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(_HISSING) else f"{noun}s"
