"""PromptSpace, the interface that maps candidate vectors to prompts."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from craft_zoo.blackbox.base import Prompt, Prompts
from craft_zoo.optimizers import Space


class PromptSpace(ABC):
    """A mapping from candidate vectors to prompts.

    Attributes:
        variables: the d coordinates of a candidate, for :func:`craft_zoo.optimizers.create`.
        start: the prompt of the candidate at the origin.
    """

    variables: Space
    start: Prompt

    @abstractmethod
    def prompts(self, candidates: np.ndarray) -> Prompts:
        """(P, d) candidates → P prompts."""
