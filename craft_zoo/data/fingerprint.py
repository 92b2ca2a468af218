"""What a data set holds, in a few letters."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from craft_zoo.data.images import ImageSource
from craft_zoo.data.task import Dataset


def fingerprint(dataset: Dataset) -> str:
    """A hash of class names, labels and images; the same wherever the images lie.

    Of an image file its name, its folder's and its size count, so that no file is read: one that
    is altered and keeps its size goes unnoticed.
    """
    digest = hashlib.sha256(json.dumps(dataset.classnames).encode())
    for part in (dataset.train, dataset.test):
        digest.update(np.ascontiguousarray(part.labels, dtype="<i8").tobytes())
        for image in part.images:
            digest.update(_describe(image))
    return digest.hexdigest()[:16]


def _describe(image: ImageSource) -> bytes:
    if isinstance(image, str | Path):
        path = Path(image)
        size = path.stat().st_size if path.exists() else -1
        return f"{path.parent.name}/{path.name}:{size}\n".encode()
    pixels = np.asarray(image)
    return f"{pixels.shape}{pixels.dtype}".encode() + np.ascontiguousarray(pixels).tobytes()
