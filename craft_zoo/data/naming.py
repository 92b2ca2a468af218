"""Which names, as files and people write them, are the same."""

from __future__ import annotations

import html
import unicodedata


def composed(name: str) -> str:
    """The name in Unicode's normal form C: macOS writes é as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


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
