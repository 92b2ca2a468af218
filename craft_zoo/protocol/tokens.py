"""Number of tokens of a request: what the server bills, and clients expect of other services."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

_PIECE = re.compile(r"\w+|[^\w\s]+")


@dataclass(frozen=True)
class TokenRule:
    """Rule for the number of tokens of texts and images.

    The default values are those of ``craft-zoo serve``; for other services they are estimates.

    Attributes:
        characters: characters of text per token; one beyond ASCII counts as its 2 to 4 bytes in
            UTF-8, as tokens of other scripts are shorter.
        image: tokens of an image; None: one for each square of ``patch`` pixels, as far as the
            image has pixels.
        patch: side of a square, in pixels.
        request: tokens that each request has in addition.
        question: tokens that each question has in addition.
        option: tokens that each option of a question has in addition.
    """

    characters: float = 4.0
    image: int | None = None
    patch: int = 32
    request: int = 16
    question: int = 8
    option: int = 1

    def of_text(self, text: str) -> int:
        """Tokens of a text: at least one for each word, number and run of punctuation."""
        length = math.ceil(len(text.encode(errors="surrogatepass")) / self.characters)
        return max(length, len(_PIECE.findall(text)))

    def of_image(self, image: bytes) -> int:
        """Tokens of an image file."""
        with Image.open(io.BytesIO(image)) as opened:
            return self.of_size(*opened.size)

    def of_size(self, width: int, height: int) -> int:
        """Tokens of an image of ``width`` x ``height`` pixels."""
        if self.image is not None:
            return self.image
        return math.ceil(width / self.patch) * math.ceil(height / self.patch)

    def of_question(self, instructions: str, options: Iterable[str] = ()) -> int:
        """Tokens of a question.

        Args:
            instructions: its text.
            options: for each option, its value followed by its description.
        """
        of_options = sum(self.option + self.of_text(option) for option in options)
        return self.question + self.of_text(instructions) + of_options
