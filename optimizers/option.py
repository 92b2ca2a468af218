"""Declaration, type conversion and validation of optimizer options."""

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
    """Declaration of one option.

    Attributes:
        name: name by which users set it.
        type: ``int``, ``float | None``, ``Literal["a", "b"]``, …
        default: value if the option is not set.
        help: one-line description; empty if there is none.
    """

    name: str
    type: Any
    default: Any
    help: str = ""

    @property
    def type_name(self) -> str:
        """The type as text for messages: ``int``, ``float or none``, ``csa or tpa``."""
        return " or ".join(_spell(member) for member in _members(self.type))

    def accept(self, value: Any, owner: str) -> Any:
        """Convert ``value`` (numpy numbers included) to a Python value of the option's type.

        Raises:
            OptimizerError: ``value`` has another type.
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
        """Parse ``text`` as a value of the option's type.

        Args:
            text: as typed by the user; ``none`` stands for None if the type includes it.
            owner: name of the object that has the option, for the error message.

        Raises:
            OptimizerError: the text cannot be parsed as this type.
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
    """Parse option texts, given by option name, into values.

    Raises:
        OptimizerError: an option is not declared, or a value has the wrong type.
    """
    check_names(texts, declared, owner)
    return {name: declared[name].convert(text, owner) for name, text in texts.items()}


def check_names(given: Mapping[str, Any], declared: Mapping[str, Option], owner: str) -> None:
    """Raise OptimizerError if a name is not declared."""
    for name in given:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise OptimizerError(
                f"{owner} has no option {name!r}: {did_you_mean(name, declared)}it has {known}"
            )


def check_above_zero(owner: str, **values: float | None) -> None:
    """Raise OptimizerError unless each option is above 0 or None."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise OptimizerError(f"option {name!r} of {owner!r} must be above 0, not {value}")


def check_at_least(owner: str, least: int, **values: int) -> None:
    """Raise OptimizerError if an option is below ``least``."""
    for name, value in values.items():
        if value < least:
            raise OptimizerError(
                f"option {name!r} of {owner!r} must be at least {least}, not {value}"
            )


def check_generation(owner: str, budget: int, size: int) -> None:
    """Raise OptimizerError if the budget is below one generation of ``size`` candidates."""
    if size > budget:
        raise OptimizerError(
            f"a budget of {budget} is smaller than one generation of {owner!r} ({size}): "
            f"raise the budget or take an optimizer or options that ask for fewer candidates"
        )


def split_assignment(text: str) -> tuple[str, str]:
    """Split ``name=value`` into the pair (name, value).

    Raises:
        OptimizerError: the text does not have this form.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise OptimizerError(f"{text!r} cannot be read: write option=value")
    return name.strip(), value.strip()


def _members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union or ``Literal``: types and strings."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union, Literal):
        parts = typing.get_args(annotation)
        return tuple(member for part in parts for member in _members(part))
    return (annotation,)


def _spell(member: Any) -> str:
    if member is type(None):
        return "none"
    return member if isinstance(member, str) else member.__name__


_OTHER = object()  # sentinel: the value has another type


def _plain(value: Any, member: Any) -> Any:
    """``value`` as a Python value of type or literal ``member``; :data:`_OTHER` if impossible."""
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
    """Convert a Python or numpy integer, or a 0-d array of one, to int.

    The result is None for other types, among them floats and booleans.
    """
    if isinstance(value, bool | np.bool_):  # an index to numpy before version 2
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def whole_number(what: str, value: Any, least: int) -> int:
    """Convert ``value``, a Python or numpy integer, to int.

    Raises:
        OptimizerError: ``value`` is no integer, or is below ``least``.
    """
    number = as_int(value)
    if number is None or number < least:
        raise OptimizerError(
            f"an optimizer's {what} must be a whole number, at least {least}, not {value!r}"
        )
    return number


def _read(text: str, member: Any) -> Any:
    if member is type(None):
        return {"none": None}[text.lower()]
    if member is bool:
        return {"true": True, "false": False}[text.lower()]
    if isinstance(member, str):
        return {member: member}[text]
    return member(text)
