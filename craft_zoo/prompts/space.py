"""PromptSpace, the interface that maps candidate vectors to prompts."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from craft_zoo.blackbox.base import Prompt, Prompts


class PromptSpace(ABC):
    """A mapping from candidate vectors to prompts.

    Attributes:
        dim: d, number of coordinates of a candidate.
        start: the prompt of the candidate at the origin.
    """

    dim: int
    start: Prompt

    @abstractmethod
    def prompts(self, candidates: np.ndarray) -> Prompts:
        """(P, d) candidates → P prompts."""
