"""The refiner's side of the loop: what the loop asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch

from craft_zoo.adapter import Solution
from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompt
from craft_zoo.losses import cross_entropy
from craft_zoo.optimizers import OutputLoss
from craft_zoo.refiner.convex import cross_entropy_and_slope


class Objective(ABC):
    """Makes losses of the logits that queries return, and learns from them.

    Args:
        labels: (N,) int64 of the training images.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels
        self._targets = torch.from_numpy(labels)

    @property
    def width(self) -> int:
        """Numbers an image that computing a loss takes, beside the logits."""
        return 1

    @property
    def ended(self) -> str | None:
        """Why the search should end now, if it should."""
        return None

    def begin(self, search: BlackBox, images: ImageSet, start: Prompt) -> np.ndarray | None:
        """Called before the search, with the metered box and the prompt that it starts from.

        Returns:
            (N, C) logits under the initial prompt, where it has asked for them.
        """
        return None

    @abstractmethod
    def losses(self, logits: np.ndarray) -> list[float]:
        """The prompt side's loss for each of p candidates, (p, N, C) logits."""

    @abstractmethod
    def output_loss(self, rows: np.ndarray) -> OutputLoss:
        """The convex loss of one candidate's logits on the images ``rows``, (n, C)."""

    def observe(self, logits: np.ndarray, loss: float) -> None:  # noqa: B027, not every side does
        """Take note of what a query has returned, (N, C)."""

    def update(  # noqa: B027, not every side does
        self, prompt: Prompt, logits: np.ndarray | None
    ) -> None:
        """Learn, if it is time, after a generation.

        Args:
            prompt: what would be deployed now.
            logits: (N, C) under it, where they are known.
        """

    @abstractmethod
    def solution(self, prompt: Prompt) -> Solution:
        """What would be deployed with ``prompt``."""

    def refine(self, logits: np.ndarray) -> np.ndarray:
        """Logits of the training images as the refiner leaves them."""
        return logits


class CrossEntropyObjective(Objective):
    """No refiner: the prompt side alone."""

    def losses(self, logits: np.ndarray) -> list[float]:
        """Cross-entropies."""
        with torch.inference_mode():
            return cross_entropy(torch.from_numpy(logits), self._targets).tolist()

    def output_loss(self, rows: np.ndarray) -> OutputLoss:
        """Cross-entropy."""
        targets = self._targets[rows]

        def loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = cross_entropy_and_slope(torch.from_numpy(logits), targets)
            return value, slope.numpy()

        return loss

    def solution(self, prompt: Prompt) -> Solution:
        """The prompt alone."""
        return Solution(prompt)
