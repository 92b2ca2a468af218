"""HardSpace, the space of prompts made of templates and words from lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from craft_zoo.blackbox.templates import as_template
from craft_zoo.optimizers import Space
from craft_zoo.prompts.space import PromptSpace


class HardSpace(PromptSpace):
    """Templates with words of a vocabulary around the class name.

    Coordinate 0 of a candidate is the index of a template; each other one is that of a word, or 0
    for no word::

        a satellite photo of a   [w1] [w2] {} [w3] [w4]   .

    Args:
        templates: alternatives for coordinate 0; the search starts with the first one.
        vocabulary: alternatives for the words.
        words: maximum number of words on each side of the class name.
        n_classes: C, if each class has its own template and words: a candidate then concatenates
            the coordinates of C prompts. None: all classes share one prompt.
    """

    def __init__(
        self,
        templates: Sequence[str],
        vocabulary: Sequence[str],
        *,
        words: int,
        n_classes: int | None = None,
    ) -> None:
        self.templates = tuple(dict.fromkeys(map(as_template, templates)))
        self.vocabulary = ("", *dict.fromkeys(vocabulary))
        self.words, self.n_classes, self.start = words, n_classes, self.templates[0]
        one = [len(self.templates), *[len(self.vocabulary)] * (2 * words)]
        prompts = n_classes or 1
        self.variables = Space(len(one) * prompts, blocks=prompts, choices=one * prompts)

    def prompts(self, candidates: np.ndarray) -> list[str] | list[tuple[str, ...]]:
        """(P, d) indices → P templates, or P tuples of C templates."""
        chosen = np.asarray(candidates, dtype=np.int64)
        if self.n_classes is None:
            return [self._template(row) for row in chosen]
        each = chosen.reshape(len(chosen), self.n_classes, -1)
        return [tuple(self._template(row) for row in rows) for rows in each]

    def _template(self, chosen: np.ndarray) -> str:
        words = [self.vocabulary[choice] for choice in chosen[1:]]
        named = " ".join(filter(None, [*words[: self.words], "{}", *words[self.words :]]))
        return self.templates[chosen[0]].replace("{}", named)
