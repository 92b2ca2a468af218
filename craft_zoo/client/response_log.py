"""Responses of a paid service, kept on disk until the query that they belong to is complete."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import IO, Any

from craft_zoo.errors import CraftZooError
from craft_zoo.files import append


class ResponseLog:
    """Append-only file of one query's responses, each a line of JSON.

    A journal records a query when all of its responses have arrived. If the process is killed
    before, the restarted one finds here those that did arrive, and does not pay for them again.
    A line that was not completely written is ignored.

    Args:
        path: the file; None: responses are kept in memory, and a kill loses them.

    Raises:
        CraftZooError: the file cannot be read or written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._lock = path, threading.Lock()
        self._file: IO[bytes] | None = None
        self._query: str | None = None
        self._responses: dict[str, Any] = {}
        try:
            if path is not None and path.exists():
                self._read(path)
        except OSError as error:
            raise self._unusable(error) from None

    @property
    def query(self) -> str | None:
        """The query that the responses belong to."""
        return self._query

    @property
    def on_disk(self) -> bool:
        """Whether the responses outlive the process."""
        return self._path is not None

    def begin(self, query: str | None) -> None:
        """Start a query. Responses of any other query are deleted, as their query is complete."""
        with self._lock:
            if query is not None and query == self._query:
                return
            self._query, self._responses = query, {}
            if self._path is None:
                return
            try:
                if self._file is None:
                    self._file = self._path.open("ab", buffering=0)
                self._file.truncate(0)
                self._write({"query": query})
            except OSError as error:
                raise self._unusable(error) from None

    def get(self, key: str) -> Any:
        """The response recorded under a key; None if there is none."""
        return self._responses.get(key)

    def responses(self) -> list[Any]:
        """All responses recorded so far, in their order."""
        return list(self._responses.values())

    def put(self, key: str, response: Any) -> None:
        """Record a response (plain JSON values) under a key. Thread-safe."""
        with self._lock:
            self._responses[key] = response
            if self._path is None:
                return
            try:
                if self._file is None:  # the query goes on that an earlier process began
                    self._file = self._path.open("ab", buffering=0)
                self._write({"key": key, "response": response})
            except OSError as error:
                raise self._unusable(error) from None

    def _write(self, entry: dict[str, Any]) -> None:
        assert self._file is not None
        append(self._file, json.dumps(entry).encode() + b"\n")

    def _read(self, path: Path) -> None:
        *lines, torn = path.read_bytes().split(b"\n")
        for line in lines:
            try:
                entry = json.loads(line)
                if "query" in entry:
                    self._query, self._responses = entry["query"], {}
                else:
                    self._responses[entry["key"]] = entry["response"]
            except (ValueError, TypeError, KeyError):
                continue
        if torn:
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size - len(torn))

    def _unusable(self, error: OSError) -> CraftZooError:
        return CraftZooError(
            f"responses cannot be kept in {self._path} ({error.strerror or error}): free disk "
            f"space or make the folder writable, then rerun the same command"
        )
