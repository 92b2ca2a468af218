"""Images of floating-point colours, for methods whose changes are smaller than a step of 8 bits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from craft_zoo.data.images import DerivedImage


@dataclass(frozen=True, eq=False)
class FloatImage(DerivedImage):
    """An image whose colours are not rounded where the model can take them as they are.

    A model on this machine takes them if the image has the size of its input. Everything else,
    services among them, sees them rounded to 8 bits.

    Attributes:
        colours: (H, W, 3) float32 in [0, 1].
    """

    colours: np.ndarray

    def open(self) -> Image.Image:
        """The image rounded to 8 bits."""
        return Image.fromarray((255 * self.colours).round().astype(np.uint8))

    def content_key(self) -> bytes:
        """See :func:`craft_zoo.data.content_key`."""
        about = f"float {self.colours.shape} ".encode()
        content = np.ascontiguousarray(self.colours).tobytes()
        return hashlib.blake2b(about + content, digest_size=20).digest()
