"""Normalization of names for comparisons."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Mapping

from craft_zoo.errors import CraftZooError
from craft_zoo.records import short


def composed(name: str) -> str:
    """The name in Unicode's normal form C; file names on macOS may be decomposed."""
    return unicodedata.normalize("NFC", name)


def reads_as(words: str) -> str:
    """Normal form of a class's words; classes with equal normal forms are indistinguishable.

    CLIP's tokenizer resolves HTML entities, converts to lower case and maps some compatibility
    forms (full-width letters) to plain ones. Invisible characters are removed as well.
    """
    text = unicodedata.normalize("NFKC", html.unescape(html.unescape(words))).lower()
    seen = "".join(one for one in text if unicodedata.category(one) not in ("Cc", "Cf"))
    return " ".join(unicodedata.normalize("NFKC", seen).split())


def check_ordered(texts: object, what: str) -> None:
    """Check that texts, which are told apart by their places, are given in an order.

    Raises:
        CraftZooError: they are a single text, a set or a mapping.
    """
    if isinstance(texts, str):
        raise CraftZooError(f"{what} must be a list, not the text {short(texts)}: put it in a list")
    if isinstance(texts, set | frozenset | Mapping):
        raise CraftZooError(
            f"{what} must be a list, in the order of their labels, not a {type(texts).__name__}, "
            f"whose order says nothing: give a list"
        )
