"""Hand-written prompt prefixes."""

from __future__ import annotations

# Each prefix has four words, like the default initial context, so that the same black box accepts
# all of them as contexts.
TEMPLATES: tuple[str, ...] = (
    *("a photo of a", "a photo of the", "a picture of a", "an image of a"),
    *("a photograph of a", "a snapshot of a", "a good photo of", "a bad photo of"),
    *("a blurry photo of", "a bright photo of", "a dark photo of", "a small photo of"),
    *("a cropped photo of", "a close-up of a", "a side view of", "a satellite photo of"),
    *("a satellite image of", "an aerial photo of", "an aerial view of", "a view of the"),
    *("a landscape with a", "a scene of a", "this is a photo", "there is a large"),
    *("a texture of a", "a pattern of a", "a surface of a", "a material called the"),
    *("a painting of a", "a drawing of a", "a sketch of a", "a cartoon of a"),
    *("a sculpture of a", "a statue of a", "a toy of a", "a rendering of a"),
    *("a logo of a", "a sign with the", "a scan of the", "a handwritten sign of"),
    *("a symbol of the", "a diagram of a", "a map of the", "a screenshot of a"),
    *("a microscope image of", "a medical image of", "a person with a", "a person doing the"),
    *("a kind of the", "a type of the", "a black and white", "a colour photo of"),
)
