"""JSON records: parsing, type checks and checksums."""

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
    """The ``repr`` of a value for a message, shortened if it is long."""
    return _SHORT.repr(value)


def parse(content: str | bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: the text is not a JSON object, or is nested too deeply.
    """
    try:
        values = json.loads(content)
    except RecursionError:
        raise ValueError("lists are nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    return values


def check(kind: type[BaseModel] | TypeAdapter[Any], values: Any) -> Any:
    """Check that JSON values have the types of a pydantic model, in strict mode.

    Returns:
        What the model makes of them; characters of file names that are not UTF-8 are replaced.

    Raises:
        ValueError: a value has a wrong type; the message is one sentence.
    """
    # File names that are not UTF-8 contain surrogates, which pydantic rejects.
    text = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
    try:
        if isinstance(kind, TypeAdapter):
            return kind.validate_json(text, strict=True)
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None


def first_fault(error: ValidationError) -> str:
    """Message about the first error, with the place of the value."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{place(first['loc'])} {message[0].lower()}{message[1:]}, not {short(first['input'])}"


def place(steps: Sequence[str | int]) -> str:
    """Path of a value in nested values, as in ``datasets.0.name``; "it" for the whole."""
    words = ".".join(str(step) for step in steps) or "it"
    return words if len(words) <= 100 and words.isprintable() else short(words)


def checksum(values: Mapping[str, Any], more: Iterable[bytes] = ()) -> str:
    """BLAKE2b hash of values and of further bytes, as 32 hexadecimal digits.

    Args:
        values: JSON values; an entry ``checksum`` is ignored.
        more: further bytes.
    """
    rest = {name: value for name, value in values.items() if name != CHECKSUM}
    digest = hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=16)
    for part in more:
        digest.update(part)
    return digest.hexdigest()


def sealed(values: Mapping[str, Any]) -> str:
    """JSON text of values with their checksum, which :func:`seal_holds` verifies."""
    # As after loading: keys become text, and tuples become lists.
    plain = json.loads(json.dumps(values))
    return json.dumps(plain | {CHECKSUM: checksum(plain)}, indent=1)


def seal_holds(values: Mapping[str, Any], more: Iterable[bytes] = ()) -> bool:
    """Whether the checksum in the values is correct, see :func:`checksum`.

    Files of earlier versions have no checksum and are accepted.
    """
    return CHECKSUM not in values or values[CHECKSUM] == checksum(values, more)
