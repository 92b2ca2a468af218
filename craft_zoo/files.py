"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, then put it in place in one step.

    A reader sees the old file or the new one. Where writing fails, the old one stays.
    """
    beside = path.with_name(path.name + ".new")
    yield beside
    os.replace(beside, path)
