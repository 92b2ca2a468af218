"""The shipped list of words from which anchors are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np

from craft_zoo.errors import CraftZooError


@cache
def word_list() -> tuple[str, ...]:
    """All shipped words: nouns for visible things, and descriptions of surfaces and scenes."""
    text = resources.files("craft_zoo.anchors").joinpath("words.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def words_excluding(
    classnames: Sequence[str], words: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The words, by default those shipped, that are not class names, ignoring case."""
    taken = {name.casefold() for name in classnames}
    return tuple(word for word in (words or word_list()) if word.casefold() not in taken)


def anchor_words(
    count: int,
    *,
    without: Sequence[str],
    rng: np.random.Generator,
    among: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Draw words at random, without class names.

    Args:
        count: number of words.
        without: the class names.
        rng: random generator.
        among: the words; None: those shipped.

    Raises:
        CraftZooError: ``count`` exceeds the number of available words.
    """
    words = words_excluding(without, among)
    if count > len(words):
        raise CraftZooError(
            f"{count} anchors were asked for and there are {len(words)} words besides the "
            f"class names: lower the setting anchors"
        )
    return tuple(words[place] for place in rng.permutation(len(words))[:count])
