"""What a data set holds, in a few letters."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from craft_zoo.data.images import (
    DerivedImage,
    ImageSource,
    in_words,
    open_image,
    steps_of,
)
from craft_zoo.data.task import Dataset, LabelledImages


def fingerprint(dataset: Dataset) -> str:
    """A hash of class names, labels and images; the same wherever the images lie.

    Of an image file its name, its folder's and its size count, and whether it is turned or scaled
    when it is opened, so that no more than its header is read: one that is altered and keeps its
    size goes unnoticed. Of a part of a data set the whole counts too, as
    draws can depend on it.
    """
    digest = hashlib.sha256(json.dumps(dataset.classnames).encode())
    for part in (dataset.train, dataset.test):
        _add(digest, part)
    # Marked, so that data sets without them keep the fingerprint they always had.
    if dataset.val is not None:
        digest.update(b"val")
        _add(digest, dataset.val)
    if dataset.whole is not None:
        digest.update(b"part of " + fingerprint(dataset.whole).encode())
    return digest.hexdigest()[:16]


def _add(digest: hashlib._Hash, part: LabelledImages) -> None:
    digest.update(np.ascontiguousarray(part.labels, dtype="<i8").tobytes())
    for image in part.images:
        digest.update(describe(image))


def describe(image: ImageSource) -> bytes:
    """What tells an image from others in its data set.

    An image that needs no more than Pillow's conversion to RGB has the description that it always
    had, except for images in memory with a palette.
    """
    if isinstance(image, DerivedImage):
        return image.identity()
    if isinstance(image, str | Path):
        path = Path(image)
        size = path.stat().st_size if path.exists() else -1
        text = f"{path.parent.name}/{path.name}:{size}{in_words(steps_of(path))}\n"
        return text.encode(errors="surrogateescape")
    if isinstance(image, Image.Image):
        steps = steps_of(image)
        # The numbers of a palette's entries say nothing of its colours.
        shown = steps or image.mode in ("P", "PA")
        pixels = np.asarray(open_image(image) if shown else image)
    else:
        pixels = np.asarray(image)
        steps = steps_of(pixels)
    about = f"{pixels.shape}{pixels.dtype}{in_words(steps)}".encode()
    return about + np.ascontiguousarray(pixels).tobytes()
