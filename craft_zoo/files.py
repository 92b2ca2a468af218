"""Files that are written whole or not at all, and read up to a size."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from craft_zoo.errors import CraftZooError

_PARTIAL = ".new"
_NAME_CHARACTERS = 40  # of the target's name, as a file's name is limited to 255 bytes


def expanded(path: str | Path) -> Path:
    """The path with ``~`` and ``~ann`` at its beginning made the folder of that user.

    Unlike :meth:`Path.expanduser` it leaves the name of an unknown user as it is: a file may be
    called so, and if none is, the path is reported as missing.
    """
    return Path(os.path.expanduser(path))


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Give a new empty file beside ``path`` to write to, then put it in place in one step.

    A reader sees the old file or the new one. Where writing fails, the old one stays and the new
    one is removed; a process that is killed leaves it behind as ``.NAME.<random>.new``. Each call
    has a file of its own, so that several processes may write one target: the last one counts.

    Args:
        path: the target, in an existing folder.
        mode: of the new file, less what the process's umask takes away.

    Raises:
        OSError: the file cannot be written; it names the target.
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
        # A full disk is reported without a name, and the temporary one says nothing to anybody.
        if error.errno is not None and str(error.filename) in ("None", str(beside)):
            error.filename, error.filename2 = str(path), None
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` in one step, text as UTF-8; see :func:`replacing`.

    Names of files that are no UTF-8 stand in a text as the bytes that they are.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    with replacing(path) as beside:
        beside.write_bytes(content)


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """A file's content.

    Args:
        path: the file.
        limit: bytes that it may have.
        what: it is, for the message.

    Raises:
        CraftZooError: it has more.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise CraftZooError(
            f"{path} has more than {limit:,} bytes, which is too many for {what}: give another file"
        )
    return content
