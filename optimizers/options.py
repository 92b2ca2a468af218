"""Options declared once, in code, and read from text: types and defaults come from there."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from craft_zoo.optimizers.errors import OptimizerError


@dataclass(frozen=True)
class Option:
    """One option: its name, its type (``int``, ``float | None``, …) and its default."""

    name: str
    type: Any
    default: Any

    def convert(self, text: str, owner: str) -> Any:
        """``text`` as a value of the option's type.

        Args:
            text: as typed by the user; ``none`` where the type admits it.
            owner: whose option it is, for the message.

        Raises:
            OptimizerError: the text is not of the type.
        """
        accepted = _members(self.type)
        if type(None) in accepted and text.lower() == "none":
            return None
        for kind in accepted:
            try:
                if kind is bool:
                    return {"true": True, "false": False}[text.lower()]
                if kind in (int, float, str):
                    return kind(text)
            except (ValueError, KeyError):
                continue
        wanted = " or ".join("none" if kind is type(None) else kind.__name__ for kind in accepted)
        raise OptimizerError(f"option {self.name!r} of {owner} must be {wanted}, not {text!r}")


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
            raise OptimizerError(f"{owner} has no option {name!r}: it has {known}")


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
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return typing.get_args(annotation)
    return (annotation,)
