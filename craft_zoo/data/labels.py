"""Conversion of table cells to labels and groups."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from craft_zoo.data.naming import composed
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable

_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_MISSING = frozenset({"nan", "<na>"})  # in lower case; "none" and "NA" are valid labels


def as_text(cell: Any) -> str:
    """A cell as text; "" for a missing value, whole numbers without a decimal point.

    Raises:
        ValueError: the cell is not a single value, or contains bytes that are not UTF-8.
    """
    if isinstance(cell, bytes):
        cell = cell.decode()
    if isinstance(cell, list | tuple | dict | set | np.ndarray):
        raise ValueError(f"{cell!r} is no single value")
    if cell is None or str(cell) in ("<NA>", "NaT"):  # missing values of pandas
        return ""
    if isinstance(cell, float | np.floating):
        if not math.isfinite(cell):
            return ""
        cell = int(cell) if float(cell).is_integer() else float(cell)
    return str(cell).strip()


def as_label(cell: Any, place: str) -> str:
    """A cell as a label: "0" for 0, 0.0 and "0.0"; "" for None, NaN, "nan" and empty text.

    Args:
        cell: cell of a table.
        place: its name in error messages.

    Raises:
        CraftZooError: the cell contains several labels, or cannot be read.
    """
    try:
        text = as_text(cell)
        if text[:1] in ("[", "(", "{") and isinstance(_literal(text), list | tuple | dict | set):
            raise ValueError(f"{text!r} is no single value")
    except ValueError as error:
        raise CraftZooError(
            f"the label of {place} cannot be used ({printable(str(error))[:100]}): "
            f"give one word or number for each image"
        ) from None
    if text.lower() in _MISSING:
        return ""
    number = _WHOLE.fullmatch(text)
    text = number[1] if number else text
    return "0" if text in ("-0", "+0") else composed(text)


def as_groups(groups: Any, n_images: int) -> np.ndarray:
    """(N,) names of groups as text, read as labels are; "" for missing ones.

    Raises:
        CraftZooError: there is not one for each image, or one cannot be read.
    """
    given = np.asarray(groups, dtype=object)
    if given.shape != (n_images,):
        raise CraftZooError(
            f"{n_images} images came with groups of shape {given.shape}: give one group each"
        )
    return np.array([as_label(each, f"group {place}") for place, each in enumerate(given)], str)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def check_single(labels: Sequence[str], source: str) -> None:
    """Check that no label lists several, as ``rock|stone`` does if ``rock`` is also a label.

    Raises:
        CraftZooError: a label lists several.
    """
    known = set(labels)
    for separator in "|;,":
        parts = {
            label: {part.strip() for part in label.split(separator)}
            for label in known
            if separator in label
        }
        shared: dict[str, str] = {}
        for label in sorted(parts):
            # Ordinary class names can contain commas, so every part must be a label.
            several = (
                parts[label] <= known
                if separator == ","
                else any(part in known or part in shared for part in parts[label] - {""})
            )
            if several:
                raise CraftZooError(
                    f"label {label!r} of {source} lists several: give each image one label"
                )
            shared |= dict.fromkeys(parts[label], label)
