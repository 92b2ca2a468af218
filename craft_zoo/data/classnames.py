"""Class names in words, from folder names or from a file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from craft_zoo.data.labels import check_single
from craft_zoo.data.naming import composed, reads_as
from craft_zoo.data.text_files import read_text
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.printable import printable

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NUMBER = re.compile(r"-?\d+")
_NUMBERED = re.compile(r"(\d+)[\s._-]+([^\W\d].*)")  # as CUB's 001.Black_footed_Albatross
_WORDNET = re.compile(r"n\d{8}(?!\d)")  # as Stanford Dogs' n02085620-Chihuahua
_TRUTH = frozenset({"true", "false"})


def readable(folder_name: str) -> str:
    """Words for a folder name: ``AnnualCrop`` and ``annual_crop`` both become ``annual crop``."""
    spaced = _CAMEL.sub(" ", composed(folder_name).replace("_", " ").replace("-", " "))
    return " ".join(spaced.split()).lower()


def says_nothing(words: str) -> bool:
    """Whether a class name has no letter, or is a truth value, and so describes no image."""
    return not any(map(str.isalpha, words)) or words.lower() in _TRUTH


def read_classnames(path: Path) -> dict[str, str]:
    """Read folder name → words from a text file with one class per line.

    A line is the folder's name, a tab (or, without one, the first space), and the words:
    the format of ImageNet's ``classnames.txt`` (``n01440764 tench``). Empty lines and lines that
    start with ``#`` are ignored. Names are returned in Unicode's normal form C.

    Raises:
        CraftZooError: the file is missing or its encoding is unknown, a line has no words, or two
            lines give different words for a folder.
    """
    try:
        lines = read_text(path).split("\n")
    except OSError as error:
        raise CraftZooError(
            f"class names file {printable(path)} cannot be read: {error.strerror}"
        ) from None
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        folder, _, words = line.strip().partition("\t" if "\t" in line.strip() else " ")
        folder, words = composed(folder.strip()), composed(words.strip())
        if not reads_as(words):
            raise CraftZooError(
                f"{printable(path)}, line {number}: expected 'folder<tab>words', found "
                f"{line.strip()!r}"
            )
        if names.setdefault(folder, words) != words:
            raise CraftZooError(
                f"{printable(path)}, line {number}: class {folder!r} has two lines, with "
                f"{names[folder]!r} and {words!r}: remove one"
            )
    return names


def _numbered(classes: Sequence[str]) -> str | None:
    """The first class with a number of WordNet's, or the first of classes that are numbered.

    Classes are not if only the numbers distinguish some, as 2-door and 4-door.
    """
    for name in classes:
        if _WORDNET.match(name):
            return name
    found = [match for name in classes if (match := _NUMBERED.match(name))]
    numbers, words = ({match[part] for match in found} for part in (1, 2))
    return classes[0] if classes and len(numbers) == len(words) == len(classes) else None


def words_for(classes: Sequence[str], path: Path | None, mend: str = "") -> tuple[str, ...]:
    """Words for each class: from the file if one is given, otherwise by :func:`readable`.

    Args:
        classes: names of folders, or labels.
        path: a file of class names.
        mend: another way to give words, for error messages, as ", or in a column 'classname'".

    Raises:
        CraftZooError: the file cannot be read or has no words for a class, the name of a class has
            no letters, or two classes have the same words.

    Warns:
        CraftZooWarning: names without a file begin with numbers, which stay in the words.
    """
    given = f"classnames (--classnames FILE), a line for each class: name, tab, words{mend}"
    if path is None:
        words = tuple(readable(name) for name in classes)
        for name, one in zip(classes, words, strict=True):
            if says_nothing(one):
                raise CraftZooError(
                    f"the name of class {printable(name)!r} says nothing of what its images "
                    f"show: give words with {given}"
                )
            if any("\ud800" <= letter <= "\udfff" for letter in one):
                raise CraftZooError(
                    f"the name of class '{printable(name)}' is no UTF-8: rename its folder"
                )
        if (numbered := _numbered(classes)) is not None:
            warnings.warn(
                f"the model is asked for class {printable(numbered)!r} by the words "
                f"{printable(readable(numbered))!r}, whose number describes no image: give "
                f"words with {given}",
                CraftZooWarning,
                stacklevel=2,
            )
    else:
        names = read_classnames(path)
        for name in classes:
            if composed(name).strip() not in names:
                raise CraftZooError(
                    f"class names file {printable(path)} has no line for class "
                    f"{printable(name)!r}: add one (name, tab, words)"
                )
        words = tuple(names[composed(name).strip()] for name in classes)
    seen: dict[str, str] = {}
    for name, one in zip(classes, words, strict=True):
        other = seen.setdefault(reads_as(one), name)
        if other != name:
            raise CraftZooError(
                f"classes {printable(other)!r} and {printable(name)!r} have the class name "
                f"{one!r} twice: rename one, or give distinct names with {given}"
            )
    return words


def known_words(
    classes: Sequence[str], path: Path | None, words: Mapping[str, str]
) -> tuple[str, ...]:
    """Words for the classes of a published data set, whose names are known.

    Args:
        classes: names of the classes in the source.
        path: a file of class names, for all or some of them; it takes precedence.
        words: words by name; in other names, underscores become spaces.

    Raises:
        CraftZooError: the file cannot be read, or has no line for any of the classes.
    """
    given = {} if path is None else read_classnames(path)
    if path is not None and not given.keys() & set(map(composed, classes)):
        raise CraftZooError(
            f"class names file {path} has no line for any class: the first is called "
            f"{classes[0]!r} in the data set, write '{classes[0]}<tab>words'"
        )
    return tuple(
        given.get(composed(name)) or words.get(name) or name.replace("_", " ") for name in classes
    )


def in_order(classes: Sequence[str]) -> list[str]:
    """Classes in alphabetical order, or in numerical order if all are whole numbers."""
    by_letters = sorted(classes)
    if all(_NUMBER.fullmatch(name) for name in by_letters):
        return sorted(by_letters, key=int)
    return by_letters


def classes_of(
    labels: Sequence[str], source: str, path: Path | None, words: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Label → words for each label that occurs, in the order of :func:`in_order`.

    Args:
        labels: words or whole numbers.
        source: name of the source in error messages.
        path: a file of class names.
        words: words that the source gives for the labels; the file takes precedence.

    Raises:
        CraftZooError: fewer than 2 classes, a label that lists several, or see :func:`words_for`.
    """
    classes = in_order(list(set(labels)))
    if len(classes) < 2:
        raise CraftZooError(
            f"{source} has {len(classes)} classes, at least 2 are needed: label images of others"
        )
    if path is None and words is not None:
        return {label: words[label] for label in classes}
    if path is None and all(_NUMBER.fullmatch(label) for label in classes):
        raise CraftZooError(
            f"labels of {source} are numbers: give words for them with classnames "
            f"(--classnames FILE), a line for each, as in '{classes[0]}<tab>words', or in a column "
            f"'classname'"
        )
    if path is None:
        check_single(classes, source)
    return dict(zip(classes, words_for(classes, path, ", or in a column 'classname'"), strict=True))
