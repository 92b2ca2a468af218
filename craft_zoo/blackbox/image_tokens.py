"""Tokens that a vision transformer reads in addition to an image's patches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from craft_zoo.data.images import DerivedImage, ImageSource, content_key, open_image
from craft_zoo.errors import CraftZooError


class Embeddings(NamedTuple):
    """Statistics of a model's embeddings, by which tokens for it are scaled.

    Attributes:
        words: standard deviation of the entries of all token embeddings.
        width: numbers of an image token; 0 if the model takes none.
        patches: mean and standard deviation of the weights that embed patches.
    """

    words: float
    width: int
    patches: tuple[float, float]


@dataclass(frozen=True, eq=False)
class WithTokens(DerivedImage):
    """An image that a vision transformer reads with further tokens behind its patches.

    Only a model whose :class:`Embeddings` have a width may be given it.

    Attributes:
        source: the image.
        tokens: (n, width) float32, or (L, n, width): the second to L-th layers read tokens of
            their own in place of what the layer before made of those before.
    """

    source: ImageSource
    tokens: np.ndarray

    def open(self) -> Image.Image:
        """See :meth:`DerivedImage.open`."""
        return open_image(self.source)

    def content_key(self) -> bytes:
        """See :func:`craft_zoo.data.content_key`."""
        about = f"tokens {self.tokens.shape} of ".encode() + self.tokens.tobytes()
        return hashlib.blake2b(about + content_key(self.source), digest_size=20).digest()


def shared_tokens(images: Sequence[ImageSource]) -> np.ndarray | None:
    """The tokens with which all images are read, see :class:`WithTokens`; None: they have none.

    Raises:
        CraftZooError: they differ in their tokens.
    """
    found = [each.tokens if isinstance(each, WithTokens) else None for each in images]
    if any(each is not found[0] for each in found):
        raise CraftZooError("images with different tokens came together: pass them apart")
    return found[0]
