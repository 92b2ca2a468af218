"""Refiner, a residual network that corrects the black box's logits, and its training."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from craft_zoo.losses import collaborative_loss


class Refiner(nn.Module):
    """``refined = logits + net(logits)``, net = Linear(C, hidden) – ReLU – Linear(hidden, C).

    Args:
        n_classes: C.
        hidden: width of the hidden layer.
        seed: seed of the initial weights.
    """

    def __init__(self, n_classes: int, hidden: int = 256, *, seed: int = 0) -> None:
        super().__init__()
        self.n_classes, self.hidden = n_classes, hidden
        # nn.Linear would draw its weights from torch's global generator, hence skip_init.
        self.net = nn.Sequential(
            nn.utils.skip_init(nn.Linear, n_classes, hidden),
            nn.ReLU(),
            nn.utils.skip_init(nn.Linear, hidden, n_classes),
        )
        generator = torch.Generator().manual_seed(seed)
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)  # nn.Linear's own default
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    def forward(self, logits: Tensor) -> Tensor:
        """(..., C) logits → (..., C) refined logits."""
        return logits + self.net(logits)

    @torch.inference_mode()
    def refine(self, logits: np.ndarray) -> np.ndarray:
        """Like :meth:`forward`, for numpy arrays and without gradients."""
        return self(torch.from_numpy(logits)).numpy()


class RefinerTrainer:
    """Trains a refiner with Adam on logits that a black box has returned.

    Args:
        refiner: trained in place.
        lr: learning rate.
        batch_size: images per step.
        seed: seed of the order of the images.
    """

    def __init__(self, refiner: Refiner, *, lr: float, batch_size: int, seed: int) -> None:
        self.refiner = refiner
        self._batch_size = batch_size
        self._optimizer = torch.optim.Adam(refiner.parameters(), lr=lr)
        self._generator = torch.Generator().manual_seed(seed)

    def epoch(self, logits: Tensor, labels: Tensor, consistency: float) -> None:
        """One pass in random order over (N, C) logits with (N,) labels.

        Args:
            logits: logits of the black box.
            labels: int64.
            consistency: w, weight of the consistency loss between refined and original logits.
        """
        order = torch.randperm(len(logits), generator=self._generator)
        for rows in order.split(self._batch_size):
            refined = self.refiner(logits[rows])
            loss = collaborative_loss(refined, logits[rows], labels[rows], consistency)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
