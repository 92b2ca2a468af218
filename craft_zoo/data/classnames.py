"""Class names: readable words from folder names, or from a file."""

from __future__ import annotations

import re
from pathlib import Path

from craft_zoo.errors import CraftZooError

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def readable(folder_name: str) -> str:
    """Words for a folder name: ``AnnualCrop`` and ``annual_crop`` both become ``annual crop``."""
    spaced = _CAMEL.sub(" ", folder_name.replace("_", " ").replace("-", " "))
    return " ".join(spaced.split()).lower()


def read_classnames(path: Path) -> dict[str, str]:
    """Folder name → words, from a text file with one class a line.

    A line is the folder's name, a tab (or, without one, the first space), and the words:
    the form of ImageNet's ``classnames.txt`` (``n01440764 tench``). Empty lines and lines that
    start with ``#`` are passed over.

    Raises:
        CraftZooError: the file is missing, or a line has no words.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CraftZooError(f"class names file {path} cannot be read: {error}") from None
    names = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        folder, _, words = line.strip().partition("\t" if "\t" in line else " ")
        if not words.strip():
            raise CraftZooError(
                f"{path}, line {number}: expected 'folder<tab>words', found {line.strip()!r}"
            )
        names[folder] = words.strip()
    return names
