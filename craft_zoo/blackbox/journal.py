"""Write-ahead log of the queries to a model and of its answers."""

from __future__ import annotations

import json
import math
import os
import struct
import time
import warnings
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.files import append, unwritable

_ANY_VERSION = b"craft-zoo journal "
_MAGIC = _ANY_VERSION + b"3\n"
_HEAD = struct.Struct("<cQI")  # kind, length of the body, its CRC-32; then the head's own CRC-32
_CHECKSUM = struct.Struct("<I")
_HEAD_BYTES = _HEAD.size + _CHECKSUM.size
_QUESTION = struct.Struct("<16sIII")  # digest, contexts, images, texts
_ASKED, _ANSWERED, _NOTE = b"?", b"=", b"n"
_SYNC_SECONDS = 1.0  # a power cut loses later entries; a killed process loses no written entry


class _Entry(NamedTuple):
    kind: bytes
    start: int  # of the body
    length: int
    checksum: int
    question: tuple[bytes, int, int, int] | None = None  # digest, contexts, images, texts

    @property
    def end(self) -> int:
        return self.start + self.length


class Busy(CraftZooError):  # noqa: N818, an expected condition rather than an error
    """Another process uses the journal."""


class Journal:
    """Queries, answers and notes, in chronological order.

    A program that is deterministic except for the model's answers can be killed at any time. When
    it is restarted with the same journal, the journal replays the recorded answers in order, and
    then the program queries the model again. Each query is written before it is sent and each
    answer when it arrives, so that answers that may have been paid for but were lost are counted.

    Args:
        path: the file, created when needed. A lock file is created beside it.

    Attributes:
        lost: number of contexts that were sent without the answer being recorded, possibly on part
            of the images only. They are sent again. A service that supports
            :meth:`VLM.next_question` still bills them once.
        answered: predictions, (context, image) pairs, whose answers were in the file when it was
            opened.
        limit: maximum bytes of the file; None: no limit. Before an answer that would exceed it,
            recording ends: a restarted program repeats the later queries.

    Raises:
        Busy: another process holds the lock.
        CraftZooError: the file is no journal, of another version, damaged, or not writable.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.lost = self.answered = 0
        self.limit: int | None = None
        self._full = False
        self._recorded: deque[_Entry] = deque()
        self._synced = time.monotonic()
        lock = FileLock(f"{self.path}.lock")
        try:
            lock.acquire(timeout=0)
            with ExitStack() as held:
                held.callback(lock.release)
                self._file: IO[bytes] = held.enter_context(open(self.path, "a+b", buffering=0))
                self._read()
                self._held = held.pop_all()
        except Timeout:
            raise Busy(f"another process is using {self.path}: wait for it, or stop it") from None
        except OSError as error:
            raise unwritable(self.path, error) from None

    @property
    def replaying(self) -> bool:
        """Whether recorded entries remain to be replayed."""
        return bool(self._recorded)

    def answer(self, digest: bytes, shape: tuple[int, int, int]) -> np.ndarray | None:
        """The recorded answer to the next query; None at the end of the record.

        Args:
            digest: 16-byte hash of the query.
            shape: (P, N, C) of the answer: numbers of contexts, images and texts.

        Raises:
            CraftZooError: the record has a different query here, or is damaged.
        """
        entry = self._next(_ANSWERED)
        if entry is None:
            return None
        if entry.question != (digest, *shape):
            raise self._other_run()
        return np.frombuffer(self._body(entry), dtype="<f4").reshape(shape).astype(np.float32)

    def ask(self, digest: bytes, shape: tuple[int, int, int]) -> None:
        """Record a query before it is sent; for the arguments, see :meth:`answer`."""
        # Nothing is recorded after an answer that is missing: a replay would take it for another.
        size = self._file.seek(0, os.SEEK_END) + 2 * _HEAD_BYTES + _QUESTION.size
        size += 4 * math.prod(shape)
        if not self._full and self.limit is not None and size > self.limit:
            self._full = True
            warnings.warn(
                f"{self.path} has reached its largest size, {self.limit / 2**30:.3g} GB: if the "
                f"run is interrupted, it repeats the queries that follow",
                CraftZooWarning,
                stacklevel=1,
            )
        if self._full:
            return
        self._write(_ASKED, _QUESTION.pack(digest, *shape))
        self.lost += shape[0]

    def keep(self, answer: np.ndarray) -> None:
        """Record the answer (P, N, C) to the latest query."""
        if self._full:
            return
        self._write(_ANSWERED, np.ascontiguousarray(answer, dtype="<f4").tobytes())
        self.lost -= len(answer)

    def note(self, value: dict[str, Any], *, later: Sequence[str] = ()) -> dict[str, Any]:
        """The note recorded here in an earlier run; otherwise record and return ``value``.

        Args:
            value: the note.
            later: names of values that earlier versions did not record.

        Raises:
            CraftZooError: the record has a different entry here, or is damaged.
        """
        entry = self._next(_NOTE)
        if entry is None:
            if not self._full:
                self._write(_NOTE, json.dumps(value).encode())
            return value
        noted: dict[str, Any] = json.loads(self._body(entry))
        if not noted.keys() ^ value.keys() <= {*later}:
            raise self._other_run()
        return noted

    def noted(self, name: str) -> Any:
        """The value in a note of that name alone, if it is recorded here; otherwise None."""
        if not self._recorded or self._recorded[0].kind != _NOTE:
            return None
        value: dict[str, Any] = json.loads(self._body(self._recorded[0]))
        if [*value] != [name]:
            return None
        self._recorded.popleft()
        return value[name]

    @property
    def responses(self) -> Path:
        """File for the responses to a query that is not complete yet."""
        return self.path.with_name(f"{self.path.name}.responses")

    def close(self) -> None:
        """Close the file and release the lock; delete the file if it has no entries."""
        if not self._file.closed and self._file.seek(0, os.SEEK_END) == len(_MAGIC):
            self.remove()
        self._held.close()

    def remove(self) -> None:
        """Close and delete the file, once the run is complete."""
        self._file.close()
        self.path.unlink(missing_ok=True)
        self.responses.unlink(missing_ok=True)
        self._held.close()
        Path(f"{self.path}.lock").unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        """Index all complete entries, and truncate one left incomplete by a kill or a power cut."""
        self._file.seek(0)
        size, magic = os.fstat(self._file.fileno()).st_size, self._file.read(len(_MAGIC))
        if magic != _MAGIC:
            if not _MAGIC.startswith(magic.rstrip(b"\0")) or not self._only_zeros(len(_MAGIC)):
                if magic.startswith(_ANY_VERSION):
                    raise CraftZooError(
                        f"{self.path} is of another version of craft-zoo: finish it with the "
                        f"version that began it, or remove it"
                    )
                raise CraftZooError(f"{self.path} is not a craft-zoo journal: move it away")
            self._file.truncate(0)
            self._file.write(_MAGIC)
            return
        entries = []
        at = len(_MAGIC)
        while (entry := self._entry(at, size)) is not None:
            entries.append(entry)
            at = entry.end
        # A power cut may leave the last complete-looking entry partly written, so it is dropped if
        # its checksum is wrong. Earlier damage has another cause and raises an error when read.
        if entries and not self._is_sound(entries[-1]):
            at = entries.pop().start - _HEAD_BYTES
        self._file.truncate(at)
        question = None
        for entry in entries:
            if entry.kind == _ASKED:
                question = _QUESTION.unpack(self._body(entry))
                self.lost += question[1]
                continue
            if entry.kind == _ANSWERED and question is not None:
                self.lost -= question[1]
                self.answered += question[1] * question[2]
            self._recorded.append(entry._replace(question=question))
            question = None

    def _entry(self, at: int, size: int) -> _Entry | None:
        """The entry at a position; None if it was not completely written.

        Raises:
            CraftZooError: the bytes there are no entry.
        """
        self._file.seek(at)
        head = self._file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            return None
        if _CHECKSUM.pack(zlib.crc32(head[: _HEAD.size])) == head[_HEAD.size :]:
            kind, length, checksum = _HEAD.unpack(head[: _HEAD.size])
            entry = _Entry(kind, at + _HEAD_BYTES, length, checksum)
            return entry if entry.end <= size else None
        # Blocks that a power cut left unwritten are zeros up to the end of the file.
        if not self._only_zeros(at + _HEAD_BYTES - 1):
            raise self._damaged(at)
        return None

    def _only_zeros(self, at: int) -> bool:
        """Whether the rest of the file from a position consists of zeros."""
        self._file.seek(at)
        return not self._file.read().strip(b"\0")

    def _next(self, kind: bytes) -> _Entry | None:
        if not self._recorded:
            return None
        if self._recorded[0].kind != kind:
            raise self._other_run()
        return self._recorded.popleft()

    def _body(self, entry: _Entry) -> bytes:
        self._file.seek(entry.start)
        body = self._file.read(entry.length)
        if zlib.crc32(body) != entry.checksum:
            raise self._damaged(entry.start)
        return body

    def _is_sound(self, entry: _Entry) -> bool:
        self._file.seek(entry.start)
        return zlib.crc32(self._file.read(entry.length)) == entry.checksum

    def _write(self, kind: bytes, body: bytes) -> None:
        """Append an entry; if writing fails, restore the file's length."""
        if self._recorded:
            raise self._other_run()
        head = _HEAD.pack(kind, len(body), zlib.crc32(body))
        try:
            append(self._file, head + _CHECKSUM.pack(zlib.crc32(head)) + body)
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _damaged(self, at: int) -> CraftZooError:
        return CraftZooError(
            f"{self.path} is damaged at byte {at:,}: remove it, to repeat the queries it recorded"
        )

    def _other_run(self) -> CraftZooError:
        return CraftZooError(
            f"{self.path} records other queries than those made now (another model, other images "
            f"or settings, another version or number of threads?): continue with the settings it "
            f"was begun with, or remove it to repeat all queries"
        )
