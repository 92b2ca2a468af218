"""Anchors: texts other than class names, whose logits are additional features of an image.

- :class:`Anchors`: anchor texts and their prompts
- :func:`anchor_words`, :func:`words_excluding`: candidate words from the shipped list
- :func:`highest_variance`, :func:`most_informative`: selection of anchors by their logits
- :class:`Background`, :func:`ask_background`: how logits vary over images of anything
- :func:`keep_best`: selection of the anchors to deploy, given the class logits
"""

from craft_zoo.anchors.anchors import Anchors
from craft_zoo.anchors.background import Background, BackgroundFile, ask_background
from craft_zoo.anchors.choice import highest_variance, keep_best, most_informative
from craft_zoo.anchors.words import anchor_words, word_list, words_excluding

__all__ = [
    "Anchors",
    "Background",
    "BackgroundFile",
    "anchor_words",
    "ask_background",
    "highest_variance",
    "keep_best",
    "most_informative",
    "word_list",
    "words_excluding",
]
