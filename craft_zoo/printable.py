"""Escapes untrusted text (from files, servers, the command line) for terminals and tables."""

from __future__ import annotations

from pathlib import Path


def printable(name: str | Path) -> str:
    r"""The text in one line, with escapes for characters that are not printable.

    Control characters could move the cursor, and spaces other than the common one would make
    different names look alike, so they become ``\x1b``, ``\xa0`` or ``\u200c``. A byte of a file
    name that is not UTF-8 becomes, for instance, ``\xe9``.
    """
    text = str(name)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else coded(sign) for sign in text)


def coded(sign: str) -> str:
    r"""Escape of a character with its code point, as in ``\x1b`` or ``\u6a21``."""
    number = ord(sign)
    if 0xDC80 <= number <= 0xDCFF:  # Python represents a byte that is not UTF-8 as such a surrogate
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def sentence(text: str, most: int = 1000) -> str:
    """A message of another program, as one printable line of at most ``most`` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 2]} …"
