"""Normalization of names for comparisons."""

from __future__ import annotations

import html
import unicodedata


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
