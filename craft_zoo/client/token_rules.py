"""Rules of the tokens that models count for an image, with the sources in docs/services.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

from craft_zoo.protocol.tokens import TokenRule


@dataclass(frozen=True)
class ImageRule:
    """Rule for the number of tokens of an image.

    Attributes:
        side: side of a square, in pixels.
        each: tokens of a square.
        base: tokens of every image in addition, and of an image in low detail.
        within: longer and shorter side to which larger images are reduced; None: they are not.
        most: maximum number of squares, which larger images are reduced to; None: unlimited.
        pixels: minimum and maximum number of pixels, to which other images are resized, where
            pixels are counted and not squares; None: squares, and a part of one as a whole one.
    """

    side: float
    each: float = 1.0
    base: int = 0
    within: tuple[int, int] | None = None
    most: int | None = None
    pixels: tuple[int, int] | None = None

    def of_size(self, width: int, height: int, *, low: bool = False) -> int:
        """Tokens of an image of ``width`` x ``height`` pixels, which may be seen in low detail."""
        if low and self.base:
            return self.base
        wide, high = float(width), float(height)
        if self.within is not None:
            factor = min(1.0, self.within[0] / max(wide, high))
            factor = min(factor, self.within[1] / min(wide, high))
            wide, high = round(factor * wide, 3), round(factor * high, 3)
        if self.pixels is not None:
            least, most = self.pixels
            count = min(max(wide * high, least), most)
            return self.base + math.ceil(self.each * count / self.side**2)
        squares = math.ceil(wide / self.side) * math.ceil(high / self.side)
        return self.base + math.ceil(self.each * min(squares, self.most or squares))


def _tiles(base: int, each: int) -> ImageRule:
    return ImageRule(512, each, base, within=(2048, 768))


def _patches(each: float) -> ImageRule:
    return ImageRule(32, each, most=1536)


# By the model's name, or what it begins with before a hyphen; the longest that fits counts.
_RULES = {
    "gpt-4o": _tiles(85, 170),
    "gpt-4o-mini": _tiles(2833, 5667),
    "gpt-4.1": _tiles(85, 170),
    "gpt-4.1-mini": _patches(1.62),
    "gpt-4.1-nano": _patches(2.46),
    "o1": _tiles(75, 150),
    "o3": _tiles(75, 150),
    "o4-mini": _patches(1.72),
    "gpt-5": _tiles(70, 140),
    "gpt-5-mini": _patches(1.62),
    "gpt-5-nano": _patches(2.46),
    "gpt-5.5": ImageRule(32, 1.2),
    "gpt-5.6": ImageRule(32, 1.2),
    "gpt-6": ImageRule(32, 1.2),
    "claude": ImageRule(28, within=(2576, 2576), most=4784),  # models before 4.7: at most 1,568
    "gemini": ImageRule(768, 1120, most=1),  # since 3: of every image, as media_resolution says
    "gemini-1.5": ImageRule(768, 258),
    "gemini-2.0": ImageRule(768, 258),
    "gemini-2.5": ImageRule(768, 258),
    "voyage-multimodal": ImageRule(math.sqrt(560), pixels=(50_000, 2_000_000)),
}


@dataclass(frozen=True)
class ModelTokens(TokenRule):
    """Rule for the number of tokens that a service counts, an estimate.

    Attributes:
        rule: of images, unless ``image`` says how many tokens an image has; None: see
            :class:`TokenRule`.
        low: whether images are seen in low detail.
    """

    rule: ImageRule | None = None
    low: bool = False

    def of_size(self, width: int, height: int) -> int:
        """Tokens of an image of ``width`` x ``height`` pixels."""
        if self.image is not None or self.rule is None:
            return super().of_size(width, height)
        return self.rule.of_size(width, height, low=self.low)


def image_rule(model: str) -> ImageRule | None:
    """The rule by which a model counts the tokens of an image; None: unknown."""
    # Services add the owner and a variant: openai/gpt-4o:free, us.anthropic.claude-opus-4-6-v1:0.
    name = model.rpartition("/")[2].removeprefix("ft:").partition(":")[0]
    name = name.rpartition("anthropic.")[2]
    found = [start for start in _RULES if f"{name}-".startswith(f"{start}-")]
    return _RULES[max(found, key=len)] if found else None
