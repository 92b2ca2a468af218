"""Options declared once, in code, and read from text: types and defaults come from there."""

from __future__ import annotations

import numbers
import operator
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.plugins import did_you_mean


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: as it is set.
        type: ``int``, ``float | None``, ``Literal["a", "b"]``, …
        default: its value where it is not set.
        help: what it does, in a line; empty where its owner does not say.
    """

    name: str
    type: Any
    default: Any
    help: str = ""

    @property
    def type_name(self) -> str:
        """The type for people: ``int``, ``float or none``, ``csa or tpa``."""
        return " or ".join(_spell(member) for member in _members(self.type))

    def accept(self, value: Any, owner: str) -> Any:
        """``value`` as a plain Python value of the option's type; numpy's numbers are converted.

        Raises:
            OptimizerError: it is not of the type.
        """
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()
        for member in _members(self.type):
            if (plain := _plain(value, member)) is not _OTHER:
                return plain
        raise OptimizerError(
            f"option {self.name!r} of {owner} must be {self.type_name}, not {value!r}"
        )

    def convert(self, text: str, owner: str) -> Any:
        """``text`` as a value of the option's type.

        Args:
            text: as typed by the user; ``none`` where the type admits it.
            owner: whose option it is, for the message.

        Raises:
            OptimizerError: the text is not of the type.
        """
        for member in _members(self.type):
            try:
                return _read(text, member)
            except (ValueError, KeyError):
                continue
        raise OptimizerError(
            f"option {self.name!r} of {owner} must be {self.type_name}, not {text!r}"
        )


def parse_options(
    texts: Mapping[str, str], declared: Mapping[str, Option], owner: str
) -> dict[str, Any]:
    """Values of the options in ``texts``.

    Raises:
        OptimizerError: an option that is not declared, or a value of the wrong type.
    """
    check_names(texts, declared, owner)
    return {name: declared[name].convert(text, owner) for name, text in texts.items()}


def check_names(given: Mapping[str, Any], declared: Mapping[str, Option], owner: str) -> None:
    """Refuse a name that is not declared."""
    for name in given:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise OptimizerError(
                f"{owner} has no option {name!r}: {did_you_mean(name, declared)}it has {known}"
            )


def check_above_zero(owner: str, **values: float | None) -> None:
    """Refuse an option's value that is not a number above 0; None, where it is allowed, passes."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise OptimizerError(f"option {name!r} of {owner!r} must be above 0, not {value}")


def check_at_least(owner: str, least: int, **values: int) -> None:
    """Refuse an option's value below ``least``."""
    for name, value in values.items():
        if value < least:
            raise OptimizerError(
                f"option {name!r} of {owner!r} must be at least {least}, not {value}"
            )


def check_generation(owner: str, budget: int, size: int) -> None:
    """Refuse a budget that has no room for a generation of ``size`` candidates."""
    if size > budget:
        raise OptimizerError(
            f"a budget of {budget} is smaller than one generation of {owner!r} ({size}): "
            f"raise the budget or take an optimizer or options that ask for fewer candidates"
        )


def split_assignment(text: str) -> tuple[str, str]:
    """``name=value`` as a pair.

    Raises:
        OptimizerError: it is not of that form.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise OptimizerError(f"{text!r} cannot be read: write option=value")
    return name.strip(), value.strip()


def _members(annotation: Any) -> tuple[Any, ...]:
    """What a value may be: types, or the strings of a ``Literal``."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union, Literal):
        parts = typing.get_args(annotation)
        return tuple(member for part in parts for member in _members(part))
    return (annotation,)


def _spell(member: Any) -> str:
    if member is type(None):
        return "none"
    return member if isinstance(member, str) else member.__name__


_OTHER = object()  # no value of an option


def _plain(value: Any, member: Any) -> Any:
    """``value`` as a plain value of the type or literal; :data:`_OTHER` where it is not of it."""
    if isinstance(member, str):
        return member if isinstance(value, str) and value == member else _OTHER
    if member is bool:
        return bool(value) if isinstance(value, bool | np.bool_) else _OTHER
    if member is int:
        number = as_int(value)
        return _OTHER if number is None else number
    if member is float:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
        return float(value) if real else _OTHER
    return value if isinstance(value, member) else _OTHER


def as_int(value: Any) -> int | None:
    """``value`` as an int where it is a whole number: numpy's too, in an array of no axes too.

    None where it is not: floats and booleans are none.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _read(text: str, member: Any) -> Any:
    if member is type(None):
        return {"none": None}[text.lower()]
    if member is bool:
        return {"true": True, "false": False}[text.lower()]
    if isinstance(member, str):
        return {member: member}[text]
    return member(text)
