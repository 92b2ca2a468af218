"""Hash of a data set's content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from craft_zoo.data.images import DerivedImage, ImageSource, in_words, open_image, steps_of
from craft_zoo.data.task import Dataset, LabelledImages


def fingerprint(dataset: Dataset) -> str:
    """A hash of class names, labels and images, independent of the location of the images.

    To read no more than headers, an image file is described by its name, its folder's name, its
    size in bytes, and the rotation and scaling applied when it is opened. A changed file of the
    same size is therefore not noticed. For a part of a data set, the hash includes the whole data
    set, as draws can depend on it.
    """
    digest = hashlib.sha256(json.dumps(dataset.classnames).encode())
    for part in (dataset.train, dataset.test):
        _add(digest, part)
    # Only added if present, so that fingerprints of earlier versions stay the same.
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
    if part.groups is not None:
        digest.update(json.dumps(part.groups.tolist()).encode())


def describe(image: ImageSource) -> bytes:
    """Bytes that identify an image within its data set.

    Images that need only Pillow's conversion to RGB have the same description as in earlier
    versions, except for images in memory with a palette.
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
        # Palette indices do not determine the colours.
        shown = steps or image.mode in ("P", "PA")
        pixels = np.asarray(open_image(image) if shown else image)
    else:
        pixels = np.asarray(image)
        steps = steps_of(pixels)
    about = f"{pixels.shape}{pixels.dtype}{in_words(steps)}".encode()
    return about + np.ascontiguousarray(pixels).tobytes()
