"""Probes the capabilities of a model before the server accepts requests."""

from __future__ import annotations

import io
from pathlib import PurePath

import numpy as np
from PIL import Image

from craft_zoo.blackbox import VLM
from craft_zoo.server.uploads import UploadedImage

_FOLDER = "local-dir:"  # open_clip's prefix of model names that are folders


def capabilities_of(vlm: VLM) -> tuple[frozenset[str], bool]:
    """The kinds of prompts that a model accepts, and whether it caches features.

    It is opened on one class, and encodes the same image twice.
    """
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "PNG")
    image = UploadedImage(file.getvalue(), "probe image", 64)
    vlm.images([image])
    before = image.opened
    vlm.images([image])
    return vlm.classifier(["cat"]).accepts, image.opened == before


def public_name(name: str) -> str:
    """The name that clients see: the model's name without the folders of its files.

    A path would reveal details of the owner's machine: ``ViT-B-32@/home/ann/secret/mine.pt``
    becomes ``ViT-B-32@mine``.
    """
    if "://" in name:  # a URL: the model itself is queried over the network
        return name
    model, at, weights = name.partition("@")
    if model.startswith(_FOLDER):
        model = f"{_FOLDER}{PurePath(model).name}"
    path = PurePath(weights)
    return f"{model}{at}{weights if path.name == weights else path.stem}"
