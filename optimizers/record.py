"""Record, the file from which minimize continues a search after its process has died."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from pathlib import Path
from typing import Any

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.files import append


class Record:
    """The evaluations of a search in the order of their arrival, a line of JSON each.

    The first line says which search it is. A last line that was cut off is dropped.

    Args:
        path: the file; it is made if it does not exist.

    Raises:
        OptimizerError: the file cannot be read, or holds something else.
    """

    def __init__(self, path: Any) -> None:
        try:
            self.path = Path(path)
            text = self.path.read_bytes() if self.path.exists() else b""
            whole = text[: text.rfind(b"\n") + 1]
            lines = [json.loads(line) for line in whole.splitlines()]
            if not all(isinstance(line, dict) for line in lines):
                raise ValueError("a line is no object")
            if lines and "search" not in lines[0]:
                raise ValueError("its first line names no search")
            if len(text) > len(whole):
                os.truncate(self.path, len(whole))
        except (OSError, ValueError, TypeError) as error:
            raise OptimizerError(
                f"record {path!r:.200} cannot be read ({error}): give the path of a new file, or "
                f"of one that minimize wrote"
            ) from None
        self.search: dict[str, Any] | None = lines[0]["search"] if lines else None
        self._lines = deque(lines[1:])

    def begin(self, search: dict[str, Any]) -> None:
        """Write which search this is, or check that the file holds the same one.

        Raises:
            OptimizerError: the file holds another one.
        """
        if self.search is None:
            self.write({"search": search})
            self.search = search
        for name, value in search.items():
            if self.search.get(name) != value:
                mend = "give another path"
                if name == "budget":
                    mend += ", or that budget, and continue it by extend() of the result"
                raise OptimizerError(
                    f"record {str(self.path)!r} is of another search, whose {name} is "
                    f"{self.search.get(name)!r}, not {value!r}: {mend}"
                )

    @property
    def next(self) -> dict[str, Any]:
        """The next line of those that were read; empty after the last."""
        return self._lines[0] if self._lines else {}

    def take(self) -> dict[str, Any]:
        """The next line; the one after it is then the next."""
        return self._lines.popleft()

    def write(self, line: dict[str, Any]) -> None:
        """Append a line.

        Raises:
            OptimizerError: the file cannot be written.
        """
        try:
            with self.path.open("ab", buffering=0) as file:
                append(file, f"{json.dumps(line)}\n".encode())
        except OSError as error:
            raise OptimizerError(
                f"record cannot be written ({error}): give another path"
            ) from error


def plain(value: Any) -> Any:
    """A point as JSON: arrays as lists, numbers that are not finite as null, the rest as names."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)
