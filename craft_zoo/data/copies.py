"""Finds test images whose files are copies of training images' files."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from craft_zoo.data.task import LabelledImages


def find_copies(train: LabelledImages, test: LabelledImages) -> list[tuple[Path, Path]]:
    """Pairs of a test image's file and a training image's file with the same content.

    Only files of the same size are read. Images that are not files, or cannot be read, are passed
    over.
    """
    trained, tested = _by_size(train), _by_size(test)
    pairs = []
    for size in sorted(trained.keys() & tested.keys()):
        known = {digest: path for path, digest in _digests(trained[size])}
        pairs += [(path, known[one]) for path, one in _digests(tested[size]) if one in known]
    return pairs


def _by_size(images: LabelledImages) -> dict[int, list[Path]]:
    sizes = defaultdict(list)
    for image in images.images:
        if isinstance(image, str | Path):
            with suppress(OSError, ValueError):
                sizes[Path(image).stat().st_size].append(Path(image))
    return sizes


def _digests(files: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    for path in files:
        with suppress(OSError):
            yield path, hashlib.blake2b(path.read_bytes()).digest()
