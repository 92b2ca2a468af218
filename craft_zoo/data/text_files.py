"""Reads text files in the encodings that Windows, macOS and Excel write."""

from __future__ import annotations

import codecs
from pathlib import Path

from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark.

    Line ends ``\\r\\n`` and ``\\r`` become ``\\n``. Other encodings are not guessed, as a wrong
    guess would give wrong names without an error.

    Raises:
        OSError: the file cannot be read.
        CraftZooError: it has another encoding; the message names the first invalid line.
    """
    content = path.read_bytes()
    # UTF-32 is tested first, as its little-endian mark begins with that of UTF-16.
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "utf-32"
    elif content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        line = before.count(b"\n") + 1
        place = f" in line {line}" if encoding.startswith("utf-8") else ""
        raise CraftZooError(
            f"{printable(path)} cannot be read as {encoding.upper().removesuffix('-SIG')}{place}: "
            f"save the file as UTF-8 (in Excel 'CSV UTF-8', in editors under 'Save as')"
        ) from None
    if "\0" in text:
        raise CraftZooError(
            f"{printable(path)} cannot be read as text, it has null characters: save it as UTF-8"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")
