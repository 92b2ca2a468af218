"""Objective of the paper: its network refiner is trained during the search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompt
from craft_zoo.blackbox.meter import Meter
from craft_zoo.craft.config import CraftConfig
from craft_zoo.craft.objective import Objective
from craft_zoo.craft.replay_buffer import ReplayBuffer
from craft_zoo.craft.step import Step
from craft_zoo.errors import CraftZooError
from craft_zoo.losses import collaborative_loss
from craft_zoo.optimizers import OutputLoss
from craft_zoo.refiner.network import Refiner, RefinerTrainer
from craft_zoo.seeding import derived_seed, generator
from craft_zoo.solution import Solution, are_learnt_from

_REPLAY_BYTES = 2**30


class NetworkObjective(Objective):
    """Trains the network refiner for one epoch every ``epoch_queries`` queries.

    The training set is the better half of the queries since the last epoch. Their contexts are
    close to the one that would be deployed, so their variation serves as augmentation.

    Args:
        box: the black box, not yet metered.
        labels: (N,) int64.
        meter: counts the queries.
        refiner: trained in place.
        config: settings.
        seed: seed of the training order.
        views: augmented views of the training images, see :attr:`CraftConfig.views`.
    """

    def __init__(
        self,
        box: BlackBox,
        labels: np.ndarray,
        *,
        meter: Meter,
        refiner: Refiner,
        config: CraftConfig,
        seed: int,
        views: Sequence[ImageSet] = (),
    ) -> None:
        super().__init__(labels)
        self._plain_box, self._box = box, meter.wrap(box, "refiner")
        self._refiner = refiner
        self._meter, self._config, self._views = meter, config, views
        self._trainer = RefinerTrainer(
            refiner,
            lr=config.lr,
            batch_size=config.batch_size,
            seed=derived_seed(seed, "refiner order"),
        )
        self._replay = ReplayBuffer(_REPLAY_BYTES, generator(seed, "refiner lessons"))
        self._epochs = 0

    @property
    def width(self) -> int:
        """See :meth:`Objective.width`."""
        return self._config.hidden

    def losses(self, logits: np.ndarray) -> list[float]:
        """The prediction-consistent losses of the prompt."""
        with torch.inference_mode():
            returned = torch.from_numpy(logits)
            refined = self._refiner(returned)
            weight = self._config.consistency
            return collaborative_loss(returned, refined, self._targets, weight).tolist()

    def output_loss(self, rows: np.ndarray) -> OutputLoss:
        """Not available.

        Raises:
            CraftZooError: always, as the loss is not convex in the logits.
        """
        raise CraftZooError(
            "an optimizer that learns from outputs needs a convex loss, which the network refiner "
            "does not have: use refiner=convex, or another optimizer"
        )

    def solution(self, prompt: Prompt) -> Solution:
        """Context and refiner."""
        return Solution(prompt, self._refiner)

    def refine(self, logits: np.ndarray) -> np.ndarray:
        """See :meth:`Objective.refine`."""
        return self._refiner.refine(logits)

    def train_alone(self, images: ImageSet, budget: int, prompt: Prompt) -> Iterator[Step]:
        """Train under one prompt, for as many epochs as :func:`collaborate` would with ``budget``.

        Yields:
            One step. The cost is one query, or with views N predictions per epoch.
        """
        logits = None
        if not self._views:
            search = self._meter.wrap(self._plain_box, "search")
            logits = search.score(prompt, images)
        for _ in range(max(1, budget // self._config.epoch_queries)):
            if logits is not None:
                self.train_epoch(torch.from_numpy(logits))
            else:
                self.train_views(prompt)
        trained, solution = self.deployed_accuracy(logits), self.solution(prompt)
        yield Step(self._meter.queries, solution, train_accuracy=trained, deployed_accuracy=trained)

    def observe(self, logits: np.ndarray, loss: float) -> None:
        """See :meth:`Objective.observe`."""
        if not self._views:
            self._replay.add(logits, loss)

    def update(self, prompt: Prompt, logits: np.ndarray | None) -> None:
        """Train one epoch if it is due."""
        if self._meter.queries < (self._epochs + 1) * self._config.epoch_queries:
            return
        self._epochs = self._meter.queries // self._config.epoch_queries
        if self._views:
            self.train_views(prompt)
        else:
            self.train_epoch(torch.from_numpy(self._replay.sample()))
        self._replay.clear()

    def train_views(self, prompt: Prompt) -> None:
        """Train one epoch on an augmented view under ``prompt``; costs N predictions."""
        view = self._views[
            self._meter.predictions["refiner"] // len(self.labels) % len(self._views)
        ]
        self.train_epoch(torch.from_numpy(self._box.score(prompt, view)))

    def train_epoch(self, logits: Tensor) -> None:
        """Train one epoch on (N, C) logits of the training images, without refused ones."""
        budget = self._meter.budget or 0
        early = self._meter.queries <= self._config.consistency_share * budget
        rows = torch.from_numpy(are_learnt_from(self.labels, logits.numpy()))
        consistency = self._config.consistency if early else 0.0
        self._trainer.epoch(logits[rows], self._targets[rows], consistency)
