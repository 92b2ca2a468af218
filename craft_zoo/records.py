"""Plain values as files hold them: parsed, with their types and their checksum looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from reprlib import Repr
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

CHECKSUM = "checksum"
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def short(value: Any) -> str:
    """A value for a message: printable, in one line, and cut where it is long."""
    return _SHORT.repr(value)


def parse(content: str | bytes) -> dict[str, Any]:
    """The values of a JSON object.

    Raises:
        ValueError: the text is no JSON object, or lists are nested too deeply in it.
    """
    try:
        values = json.loads(content)
    except RecursionError:
        raise ValueError("lists are nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    return values


def check(kind: type[BaseModel] | TypeAdapter[Any], values: Any) -> None:
    """Make sure that plain values of JSON have the types of a model, strictly.

    Raises:
        ValueError: one has not, said in a sentence.
    """
    # Bytes of file names that are no UTF-8 are surrogates, which pydantic refuses in any text.
    text = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
    try:
        if isinstance(kind, TypeAdapter):
            kind.validate_json(text, strict=True)
        else:
            kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(sentence(error)) from None


def sentence(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{place(first['loc'])} {message[0].lower()}{message[1:]}, not {short(first['input'])}"


def place(steps: Sequence[str | int]) -> str:
    """Where in nested values something stands, as in ``datasets.0.name``; "it" for the whole."""
    words = ".".join(str(step) for step in steps) or "it"
    return words if len(words) <= 100 and words.isprintable() else short(words)


def checksum(values: Mapping[str, Any], more: Iterable[bytes] = ()) -> str:
    """32 hexadecimal digits that differ once anything in the values, or in bytes beside them, does.

    Args:
        values: as JSON can hold them; an entry ``checksum`` among them does not count.
        more: bytes that belong to them.
    """
    rest = {name: value for name, value in values.items() if name != CHECKSUM}
    digest = hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=16)
    for part in more:
        digest.update(part)
    return digest.hexdigest()


def sealed(values: Mapping[str, Any]) -> str:
    """Values with their checksum as the text of a file, for :func:`check_seal`."""
    # As a reader will have it: keys are text, tuples are lists.
    plain = json.loads(json.dumps(values))
    return json.dumps(plain | {CHECKSUM: checksum(plain)}, indent=1)


def seal_holds(values: Mapping[str, Any], more: Iterable[bytes] = ()) -> bool:
    """Whether the checksum among values is theirs, see :func:`checksum`.

    Files of earlier versions have none, and pass.
    """
    return CHECKSUM not in values or values[CHECKSUM] == checksum(values, more)
