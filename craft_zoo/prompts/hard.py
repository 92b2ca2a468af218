"""Prompts in words, chosen from lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from craft_zoo.blackbox.templates import as_template
from craft_zoo.prompts.space import PromptSpace


class HardSpace(PromptSpace):
    """Templates with words of a vocabulary beside the class name; a candidate chooses them.

    Coordinate 0 is one of the templates, each of the others is a word or none::

        a satellite photo of a   [w1] [w2] {} [w3] [w4]   .

    Args:
        templates: to choose from; the first is where the search starts.
        vocabulary: words.
        words: of them on each side of the class name, at most.

        n_classes: C, where each class has a template and words of its own: a candidate is then C of
            them. None: the classes share one.

    Attributes:
        choices: (d,) numbers of alternatives, d = 1 + 2 x words, or C times that.
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
        self.choices = np.array(one * (n_classes or 1))
        self.dim = len(self.choices)

    def prompts(self, candidates: np.ndarray) -> list[str] | list[tuple[str, ...]]:
        """(P, d) whole numbers → P templates, or P times one for each class."""
        chosen = np.asarray(candidates, dtype=np.int64)
        if self.n_classes is None:
            return [self._template(row) for row in chosen]
        each = chosen.reshape(len(chosen), self.n_classes, -1)
        return [tuple(self._template(row) for row in rows) for rows in each]

    def _template(self, chosen: np.ndarray) -> str:
        words = [self.vocabulary[choice] for choice in chosen[1:]]
        named = " ".join(filter(None, [*words[: self.words], "{}", *words[self.words :]]))
        return self.templates[chosen[0]].replace("{}", named)
