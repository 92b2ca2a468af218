"""Anchors: texts other than class names, whose logits are additional features of an image.

- :class:`Anchors`: anchor texts and their prompts
- :func:`anchor_words`, :func:`words_beside`: candidate words from the shipped list
- :func:`most_spread`, :func:`most_informative`: selection of anchors by their logits
"""

from craft_zoo.anchors.anchors import Anchors
from craft_zoo.anchors.choice import most_informative, most_spread
from craft_zoo.anchors.words import anchor_words, word_list, words_beside

__all__ = [
    "Anchors",
    "anchor_words",
    "most_informative",
    "most_spread",
    "word_list",
    "words_beside",
]
