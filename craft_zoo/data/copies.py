"""Finds test images whose files are copies of training images' files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from craft_zoo.data.images import content_key
from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError


def find_copies(train: LabelledImages, test: LabelledImages) -> list[tuple[Path, Path]]:
    """Pairs of a test image's file and a training image's file with the same content.

    Only files of the same size are read. Images that are not files, or cannot be read, are passed
    over.
    """
    trained, tested = train.files_by_size, test.files_by_size
    pairs = []
    for size in sorted(trained.keys() & tested.keys()):
        known = {key: path for path, key in _keys(trained[size])}
        pairs += [(path, known[key]) for path, key in _keys(tested[size]) if key in known]
    return pairs


def _keys(files: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    for path in files:
        with suppress(CraftZooError):
            yield path, content_key(path)
