"""Class names: readable words from folder names, or from a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from craft_zoo.errors import CraftZooError

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NUMBER = re.compile(r"-?\d+")


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


def words_for(classes: Sequence[str], path: Path | None) -> tuple[str, ...]:
    """Words for each class: from the file where one is given, else :func:`readable`.

    Raises:
        CraftZooError: the file cannot be read, or has no words for a class.
    """
    if path is None:
        return tuple(readable(name) for name in classes)
    names = read_classnames(path)
    missing = [name for name in classes if name not in names]
    if missing:
        raise CraftZooError(
            f"class names file {path} has no line for class {missing[0]!r}: add one"
        )
    return tuple(names[name] for name in classes)


def classes_of(
    labels: Sequence[str], source: str, path: Path | None, words: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Each label that occurs → its words, numbers by size and others by letters.

    Args:
        labels: words or whole numbers.
        source: what to call the source in an error.
        path: a file of class names.
        words: the source's own, which the file overrules.

    Raises:
        CraftZooError: fewer than 2 classes, or one without words.
    """
    classes = sorted(set(labels))
    numbers = all(_NUMBER.fullmatch(label) for label in classes)
    if numbers:
        classes.sort(key=int)
    if len(classes) < 2:
        raise CraftZooError(
            f"{source} has {len(classes)} classes, at least 2 are needed: label images of others"
        )
    if path is None and words is not None:
        return {label: words[label] for label in classes}
    if path is None and numbers:
        raise CraftZooError(
            f"labels of {source} are numbers: give words for them with --classnames FILE "
            f"(a line for each, as in '{classes[0]}<tab>words') or in a column 'classname'"
        )
    return dict(zip(classes, words_for(classes, path), strict=True))
