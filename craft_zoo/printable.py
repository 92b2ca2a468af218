"""Text from elsewhere (files, servers, the command line), shown on a terminal and in tables."""

from __future__ import annotations

from pathlib import Path


def printable(name: str | Path) -> str:
    r"""The text in one line, with an escape in place of each character that is not seen.

    Control characters could move the cursor; of spaces only the common one is left, so that names
    that look alike can be told apart: ``\x1b``, ``\xa0``, ``\u200c``. A byte of a file name that is
    no UTF-8 is written as ``\xe9``.
    """
    text = str(name)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else coded(sign) for sign in text)


def coded(sign: str) -> str:
    r"""A character as its number, as in ``\x1b`` or ``\u6a21``."""
    number = ord(sign)
    if 0xDC80 <= number <= 0xDCFF:  # how Python holds a byte that is no UTF-8
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def sentence(text: str, most: int = 1000) -> str:
    """Another program's message in one printable line of at most ``most`` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 2]} …"
