"""Appending to files, of which a full disk takes all or nothing."""

from __future__ import annotations

import os
from typing import IO


def append(file: IO[bytes], content: bytes) -> None:
    """Append all of the content to an unbuffered file, or nothing if writing fails.

    On a full disk the operating system may write a part without an error.

    Raises:
        OSError: the file cannot be written.
    """
    end, left = file.seek(0, os.SEEK_END), memoryview(content)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:
        file.truncate(end)
        raise
