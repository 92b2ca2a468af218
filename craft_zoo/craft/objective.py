"""Objectives of the collaborative loop: losses of (refined) logits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompt
from craft_zoo.losses import cross_entropy
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers import OutputLoss
from craft_zoo.refiner.convex import CrossEntropy
from craft_zoo.solution import Solution
from craft_zoo.tensors import tensor


class Objective(ABC):
    """Turns logits into losses and updates the refiner.

    Args:
        labels: (N,) int64 of the training images.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels
        self._targets = tensor(labels)

    @property
    def width(self) -> int:
        """Number of values per image that a loss computation keeps in memory besides the logits."""
        return 1

    @property
    def ended(self) -> str | None:
        """Why the search should stop before the budget is spent; None: it should go on."""
        return None

    def begin(self, search: BlackBox, images: ImageSet, start: Prompt) -> np.ndarray | None:
        """Prepare for the search; called once before it.

        Args:
            search: the metered black box.
            images: the N training images.
            start: the initial prompt.

        Returns:
            (N, C) logits under the initial prompt; None if it was not queried.
        """
        return None

    @abstractmethod
    def losses(self, logits: np.ndarray) -> list[float]:
        """The loss of each of p candidates, which the optimizer minimizes.

        Args:
            logits: (p, N, C).
        """

    @abstractmethod
    def output_loss(self, rows: np.ndarray) -> OutputLoss:
        """The loss as a convex function of one candidate's logits (n, C).

        Args:
            rows: (n,) indices of the images that the logits are of.
        """

    def observe(self, logits: np.ndarray, loss: float) -> None:  # noqa: B027, optional
        """Record the logits (N, C) that a query has returned, and their loss."""

    def update(  # noqa: B027, optional
        self, prompt: Prompt, logits: np.ndarray | None
    ) -> None:
        """Train the refiner if an update is due; called after each generation.

        Args:
            prompt: the prompt that would be deployed now.
            logits: (N, C) logits under it; None if it was not queried.
        """

    @abstractmethod
    def solution(self, prompt: Prompt) -> Solution:
        """The solution that would be deployed with ``prompt``."""

    def refine(self, logits: np.ndarray) -> np.ndarray:
        """Refined logits (N, C) of the training images."""
        return logits

    def deployed_accuracy(self, logits: np.ndarray | None) -> float:
        """Accuracy of :meth:`solution` on the training images; NaN if it is not known.

        Args:
            logits: (N, C) logits under its prompt; None if it was not queried.
        """
        return math.nan if logits is None else accuracy(self.refine(logits), self.labels)


class CrossEntropyObjective(Objective):
    """Cross-entropy of the black box's logits, without a refiner."""

    def losses(self, logits: np.ndarray) -> list[float]:
        """Cross-entropy of each candidate."""
        return cross_entropy(tensor(logits), self._targets).tolist()

    def output_loss(self, rows: np.ndarray) -> OutputLoss:
        """Cross-entropy."""
        of_rows = CrossEntropy(self._targets[rows])

        def loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = of_rows(tensor(logits))
            return value, np.asarray(slope)

        return loss

    def solution(self, prompt: Prompt) -> Solution:
        """The prompt alone."""
        return Solution(prompt)
