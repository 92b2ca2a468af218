"""What a server finds out about its model before anybody asks."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from PIL import Image

from craft_zoo.blackbox import VLM
from craft_zoo.server.uploads import UploadedImage

_FOLDER = "local-dir:"  # of open_clip, before a model's folder


@dataclass
class Capabilities:
    """What was found out.

    Attributes:
        accepts: what it can be asked with, see :attr:`craft_zoo.blackbox.BlackBox.accepts`.
        remembers: whether it knows an image again without opening it, so that a set may be encoded
            in pieces and its files forgotten.
    """

    accepts: frozenset[str]
    remembers: bool


def capabilities_of(vlm: VLM) -> Capabilities:
    """Open the model on a class, and hand it the same image twice."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "PNG")
    image = UploadedImage(file.getvalue(), "of the capabilities_of", 64)
    vlm.images([image])
    before = image.opened
    vlm.images([image])
    return Capabilities(vlm.classifier(["cat"]).accepts, image.opened == before)


def public_name(name: str) -> str:
    """What a model is called to those who ask: its own name, of files without their folders.

    A path would tell of the owner's machine: ``ViT-B-32@/home/ann/secret/mine.pt`` becomes
    ``ViT-B-32@mine``.
    """
    if "://" in name:  # a model that is itself asked over the network
        return name
    model, at, weights = name.partition("@")
    if model.startswith(_FOLDER):
        model = f"{_FOLDER}{PurePath(model).name}"
    path = PurePath(weights)
    return f"{model}{at}{weights if path.name == weights else path.stem}"
