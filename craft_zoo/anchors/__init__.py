"""Anchors: texts beside the classes, whose logits say more of an image.

- :class:`Anchors`: what is asked for beside the classes
- :func:`anchor_words`, :func:`words_beside`: words to take, from the shipped list
- :func:`most_spread`, :func:`most_informative`: which of them to keep
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
