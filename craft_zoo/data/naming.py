"""Names as files and people write them: which are the same, and how to print them."""

from __future__ import annotations

import html
import unicodedata
from pathlib import Path


def composed(name: str) -> str:
    """The name in Unicode's normal form C: macOS writes é as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def printable(name: str | Path) -> str:
    """The name with backslash escapes for bytes that are no UTF-8 and for control characters."""
    text = str(name)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == " " else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # Python's stand-in for such a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def reads_as(words: str) -> str:
    """What of a class's words can tell it from others: equal for words that read alike.

    CLIP's tokenizer resolves HTML's entities, makes letters small and takes some compatibility
    forms (full-width letters) for the plain ones; what is invisible tells nobody anything.
    """
    text = unicodedata.normalize("NFKC", html.unescape(html.unescape(words))).lower()
    seen = "".join(one for one in text if unicodedata.category(one) not in ("Cc", "Cf"))
    return " ".join(unicodedata.normalize("NFKC", seen).split())


def has_letter(words: str) -> bool:
    """Whether there is a letter, of any script, among the words."""
    return any(one.isalpha() for one in words)
