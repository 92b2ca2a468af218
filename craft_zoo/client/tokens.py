"""Estimates of the tokens that a service bills, before it is asked."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class TokenRule:
    """How many tokens texts and images have, approximately.

    Attributes:
        characters: characters of text per token.
        image: tokens of an image; None: one for each square of ``patch`` pixels, as far as the
            image has pixels.
        patch: side of a square, in pixels.
        request: tokens that each request has in addition.
        question: tokens that each question has in addition.
    """

    characters: float = 4.0
    image: int | None = None
    patch: int = 32
    request: int = 16
    question: int = 8

    def of_text(self, text: str) -> int:
        """Tokens of a text."""
        return math.ceil(len(text) / self.characters)

    def of_image(self, image: bytes) -> int:
        """Tokens of an image file."""
        if self.image is not None:
            return self.image
        with Image.open(io.BytesIO(image)) as opened:
            width, height = opened.size
        return math.ceil(width / self.patch) * math.ceil(height / self.patch)
