"""Base class of solutions that alter images, and the steps after which their methods report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet
from craft_zoo.solution import Solution

_STEPS = 20


@dataclass(kw_only=True)
class AlteredImages(Solution, ABC):
    """A solution that alters images, which no adapter can represent.

    Attributes:
        vlm: the model, to which altered images are passed.
    """

    deployable: ClassVar[bool] = False

    vlm: VLM

    @abstractmethod
    def alter(self, images: ImageSet) -> ImageSet:
        """The altered images."""

    def logits(
        self, box: BlackBox, images: ImageSet, anchor_logits: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, C) logits of the altered images."""
        return box.score(self.prompt, self.alter(images))


class Reports:
    """Says when to yield a step: some 20 times, as measuring one encodes every test image anew.

    Args:
        budget: queries of the search.
    """

    def __init__(self, budget: int) -> None:
        self._interval, self._next = budget / _STEPS, 0.0

    def due(self, queries: int, *, is_last: bool) -> bool:
        """Whether to yield a step after this number of queries."""
        if queries < self._next and not is_last:
            return False
        self._next += self._interval
        return True
