"""Text of others, so that it can be shown on a terminal and in a table."""

from __future__ import annotations

import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # categories of what prints as nothing


def printable(name: str) -> str:
    r"""A name in one line: what prints as nothing or moves the cursor is written as ``\x1b``."""
    return "".join(coded(sign) if unicodedata.category(sign) in _UNSEEN else sign for sign in name)


def coded(sign: str) -> str:
    r"""A character as its number, as in ``\x1b`` or ``\u6a21``."""
    number = ord(sign)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def sentence(text: str, most: int = 1000) -> str:
    """What another program says, in one printable line of at most ``most`` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 2]} …"
