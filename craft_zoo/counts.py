"""Counts in words: numbers with nouns in singular or plural."""

from __future__ import annotations

_AFTER_VOWEL = ("ay", "ey", "oy", "uy")
_HISSING = ("s", "x", "ch", "sh")


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
