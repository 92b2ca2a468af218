"""Atomic writing and size-limited reading of files, and paths that name a content."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Self

from craft_zoo.errors import CraftZooError
from craft_zoo.optimizers.files import append

__all__ = [
    "HashedPath",
    "append",
    "expanded",
    "read_bounded",
    "replacing",
    "unwritable",
    "write_atomically",
    "writing",
]

FREE_SPACE = "free disk space or make the folder writable, then rerun the same command"
OTHER_FOLDER = "choose another folder (--out)"

_PARTIAL = ".new"
_HASH_DIGITS = 8
_HASHED = re.compile(rf"(.*)#([0-9a-f]{{{_HASH_DIGITS}}})", re.DOTALL)
_NAME_CHARACTERS = 40  # of the target's name, as a file's name is limited to 255 bytes


def expanded(path: str | Path) -> Path:
    """The path with a leading ``~`` or ``~ann`` replaced by that user's home folder.

    Unlike :meth:`Path.expanduser`, this function leaves the name of an unknown user unchanged: it
    may be the name of a file, and otherwise the caller reports the path as missing.
    """
    return Path(os.path.expanduser(path))


@contextmanager
def writing(path: str | Path, mend: str = FREE_SPACE) -> Iterator[None]:
    """Say in a sentence that a file or folder cannot be written.

    Args:
        path: the file or folder.
        mend: what to do about it.

    Raises:
        CraftZooError: the block has raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error, mend) from None


def unwritable(path: str | Path, error: OSError, mend: str = FREE_SPACE) -> CraftZooError:
    """The error of a file or folder that cannot be written; see :func:`writing`."""
    return CraftZooError(f"{path} cannot be written ({error.strerror or error}): {mend}")


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a new empty file in the same folder to write to, and rename it to ``path`` at the end.

    A reader sees the old file or the new one. If writing fails, the old file stays and the new one
    is removed; a killed process leaves ``.NAME.<random>.new`` behind. Each call has its own file,
    so that several processes may write to one target: the last one wins.

    Args:
        path: the target, in an existing folder.
        mode: permissions of the new file, restricted by the process's umask.

    Raises:
        OSError: the file cannot be written; the error names the target.
    """
    name = f".{path.name[:_NAME_CHARACTERS]}.{secrets.token_hex(8)}{_PARTIAL}"
    beside = path.with_name(name)
    try:
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        try:
            yield beside
            os.replace(beside, path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
    except OSError as error:
        # On a full disk the error has no file name, and the temporary name would not help the user.
        if error.errno is not None and str(error.filename) in ("None", str(beside)):
            error.filename = str(path)
            del error.filename2  # None would be shown, as in 'FILE' -> None
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the content of ``path`` atomically, text as UTF-8; see :func:`replacing`.

    Surrogates in the text, from file names that are not UTF-8, are written as their original bytes.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    with replacing(path) as beside:
        beside.write_bytes(content)


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """Read a file of limited size.

    Args:
        path: the file.
        limit: maximum number of bytes.
        what: kind of file, for the error message.

    Raises:
        CraftZooError: the file is larger.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise CraftZooError(
            f"{path} has more than {limit:,} bytes, which is too many for {what}: give another file"
        )
    return content


class HashedPath(str):
    """Path of a file and a hash of its content, as ``PATH#HASH``; "": no file.

    The hash is part of a run's identity, and the path is not: two are equal if their contents are.

    Attributes:
        what: kind of file, for error messages.
        limit: maximum number of bytes.
    """

    __slots__ = ()
    what: ClassVar[str]
    limit: ClassVar[int] = 2**24

    def __new__(cls, text: str | Path | None) -> Self:
        """Add the hash of the present file to a path without one, unless the file is missing."""
        text = str(text or "")
        if text and not _HASHED.fullmatch(text):
            with suppress(CraftZooError):  # content() raises the error
                text = f"{text}#{_hash(cls._read(text))}"
        return super().__new__(cls, text)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, HashedPath):
            return self.identity == other.identity
        return str(self) == other

    def __ne__(self, other: object) -> bool:  # that of str compares the paths
        return not self == other

    def __hash__(self) -> int:
        return hash(self.identity)

    @property
    def identity(self) -> str:
        """The hash of the content; without one, the path."""
        path, known = self._parts()
        return known or path

    @property
    def path(self) -> str:
        """The path without the hash."""
        return self._parts()[0]

    def content(self) -> bytes:
        """Content of the file.

        Raises:
            CraftZooError: it is missing or too large, or has changed since the hash was made.
        """
        path, known = self._parts()
        content = self._read(path)
        if known and known != _hash(content):
            raise CraftZooError(
                f"{path} has changed since this run was planned: give the file without #{known}"
            )
        return content

    def _parts(self) -> tuple[str, str]:
        """The path and the hash, "" if there is none; a ``#`` may be in the path too."""
        hashed = _HASHED.fullmatch(self)
        return (hashed[1], hashed[2]) if hashed else (str(self), "")

    @classmethod
    def _read(cls, path: str) -> bytes:
        try:
            return read_bounded(expanded(path), cls.limit, cls.what)
        except OSError as error:
            raise CraftZooError(
                f"{path} cannot be read as {cls.what} ({error.strerror}): check the path"
            ) from None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]
