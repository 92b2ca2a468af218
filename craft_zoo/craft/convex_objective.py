"""The convex refiner's side of the loop: solved again as the context moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from craft_zoo.adapter import Solution
from craft_zoo.anchors import Anchors
from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompt
from craft_zoo.blackbox.meter import Meter
from craft_zoo.craft.held_out import HeldOut
from craft_zoo.craft.objective import Objective
from craft_zoo.craft.replay_buffer import ReplayBuffer
from craft_zoo.errors import CraftZooError
from craft_zoo.losses import cross_entropy
from craft_zoo.optimizers import OutputLoss
from craft_zoo.refiner import (
    ConvexRefiner,
    Regularization,
    choose_regularization,
    fit,
    held_out_folds,
)
from craft_zoo.refiner.convex import cross_entropy_and_slope
from craft_zoo.seeding import generator

_REPLAY_BYTES = 2**29  # answers that are kept for the next lesson
_FOLDS_TO_HOLD_OUT = 4  # with fewer, one of them is too large a part of the shots


@dataclass(frozen=True)
class _Part:
    """The refiner that judges some of the images: ``logits @ slope + shift``."""

    refiner: ConvexRefiner
    rows: Tensor
    slope: Tensor
    shift: Tensor

    def refined(self, returned: Tensor) -> Tensor:
        """(..., n, C) of its images, from what was returned for all, (..., N, C)."""
        return returned[..., self.rows, :] @ self.slope + self.shift


class ConvexObjective(Objective):
    """Refiner and context fitted together, both to images that the refiner has not seen.

    The loss of a candidate is the refined logits' cross-entropy. With two shots or more, each
    image's refiner is one that was fitted without it (cross-fitting): otherwise a refiner that fits
    the few shots perfectly would leave the context nothing to learn. The loss is convex in the
    logits, as each refiner is linear.

    Where the last of four folds is large enough to judge by (see :class:`HeldOut`), the search is
    not given it until the context has proved better on it than the initial one, which is deployed
    where it seems worse.

    Args:
        labels: (N,) int64.
        meter: says how many queries were made.
        refit_queries: see :class:`CraftConfig`, as for patience.
        seed: of what it draws.
        anchors: the anchors that are deployed, if any.
        anchor_logits: (N, M), theirs on the training images.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        meter: Meter,
        refit_queries: int,
        patience: int = 0,
        seed: int = 0,
        anchors: Anchors | None = None,
        anchor_logits: np.ndarray | None = None,
    ) -> None:
        super().__init__(labels)
        self._meter, self._every = meter, refit_queries
        self._anchors, self._anchor_logits = anchors, anchor_logits
        self._folds = held_out_folds(labels)
        self._strength: Regularization | None = None
        self._next_fit = 0
        self._refiner: ConvexRefiner | None = None
        self._parts: list[_Part] = []
        self._held_out = HeldOut(self._targets[self._last_fold()], patience=patience)
        self._first: Solution | None = None
        self._answers = ReplayBuffer(_REPLAY_BYTES, generator(seed, "refiner lessons"))

    def observe(self, logits: np.ndarray, loss: float) -> None:
        """Keep the better answers of the generation."""
        self._answers.add(logits, loss)

    def begin(self, search: BlackBox, images: ImageSet, start: Prompt) -> np.ndarray:
        """Ask for the initial prompt, which the first refiner is fitted to."""
        self._search, self._images = search, images
        logits = search.score(start, images)
        self.learn(start, logits)
        return logits

    def update(self, prompt: Prompt, logits: np.ndarray | None) -> None:
        """Solve the refiner on the logits of the prompt, asked for where they are not known."""
        # Candidates that are spread around the deployed context would all look bad to a refiner
        # that was fitted to that context alone: cma then finds nothing. In a small generation
        # an optimizer compares candidates that are near to each other.
        lesson = self._answers.sample() if self._answers.heard >= self._every else None
        self._answers.clear()
        if self._meter.queries < self._next_fit:
            return
        if logits is not None:
            lesson = logits  # of one of the candidates, judged as it is
        elif self._meter.remaining:
            logits = self._search.score(prompt, self._images)
        else:
            return
        self._next_fit = self._meter.queries + self._every
        if self._strength is None:
            # Not again later: a context that was searched on all shots makes those held out look
            # easy too, so that ever weaker strengths are chosen and the search fits noise.
            self._strength = choose_regularization(logits, self.labels, self._anchor_logits)
        everything = np.arange(len(self.labels))
        self._refiner = self._fit(logits, everything, self._refiner)
        if self._first is None:
            self._first = Solution(prompt, self._refiner, self._anchors)
        self._parts = self._cross_fit(logits if lesson is None else lesson)
        if not self._held_out.released:
            refined = self._parts[-1].refined(torch.from_numpy(logits))
            self._held_out.observe(refined, self._meter.queries)

    def losses(self, logits: np.ndarray) -> list[float]:
        """Cross-entropies of refined logits."""
        with torch.inference_mode():
            returned = torch.from_numpy(logits)
            total = torch.zeros(len(logits))
            for part in self._given:
                loss = cross_entropy(part.refined(returned), self._targets[part.rows])
                total += len(part.rows) * loss
            return (total / sum(len(part.rows) for part in self._given)).tolist()

    def output_loss(self, rows: np.ndarray) -> OutputLoss:
        """Their cross-entropy, convex in the logits."""
        pieces = []
        for part in self._given:
            judged = part.rows.numpy()
            mine = np.flatnonzero(np.isin(judged, rows))
            where = torch.from_numpy(np.searchsorted(rows, judged[mine]))
            pieces.append((where, part.slope, part.shift[mine], self._targets[judged[mine]]))

        n_judged = sum(len(where) for where, *_ in pieces)

        def loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
            returned, total = torch.from_numpy(logits), 0.0
            gradient = torch.zeros_like(returned)
            for where, slope, shift, targets in pieces:
                value, step = cross_entropy_and_slope(returned[where] @ slope + shift, targets)
                share = len(where) / n_judged
                total += share * value
                gradient[where] = share * step @ slope.T
            return total, gradient.numpy()

        return loss

    def solution(self, prompt: Prompt) -> Solution:
        """Prompt, refiner and anchors; the initial prompt's where held-out shots say so."""
        if self._held_out.against and self._first is not None:
            return self._first
        return Solution(prompt, self._fitted, self._anchors)

    def refine(self, logits: np.ndarray) -> np.ndarray:
        """See :meth:`Objective.refine`."""
        return self._fitted.refine(logits, self._anchor_logits)

    @property
    def ended(self) -> str | None:
        """See :meth:`Objective.ended`."""
        if not self._held_out.hopeless:
            return None
        return "held-out shots find the searched context worse than the initial one"

    @property
    def _given(self) -> list[_Part]:
        """The parts that the search is given."""
        return self._parts if self._held_out.released else self._parts[:-1]

    @property
    def _fitted(self) -> ConvexRefiner:
        if self._refiner is None:
            raise CraftZooError("the refiner's side was not begun: call begin before the search")
        return self._refiner

    def _last_fold(self) -> np.ndarray:
        """Images that can be held out from the search."""
        if self._folds is None or self._folds.max() + 1 < _FOLDS_TO_HOLD_OUT:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self._folds == self._folds.max())

    def _fit(
        self, logits: np.ndarray, rows: np.ndarray, start: ConvexRefiner | None
    ) -> ConvexRefiner:
        assert self._strength is not None
        anchors = None if self._anchor_logits is None else self._anchor_logits[rows]
        return fit(logits[rows], self.labels[rows], anchors, strength=self._strength, start=start)

    def _cross_fit(self, logits: np.ndarray) -> list[_Part]:
        if self._folds is None:
            return [self._part(np.arange(len(self.labels)), self._fitted)]
        parts = []
        for fold in range(self._folds.max() + 1):
            kept, judged = np.flatnonzero(self._folds != fold), np.flatnonzero(self._folds == fold)
            start = self._parts[fold].refiner if self._parts else None
            parts.append(self._part(judged, self._fit(logits, kept, start)))
        return parts

    def _part(self, rows: np.ndarray, refiner: ConvexRefiner) -> _Part:
        anchors = None if self._anchor_logits is None else self._anchor_logits[rows]
        none = np.zeros((len(rows), refiner.n_classes), dtype=np.float32)
        shift = refiner.refine(none, anchors)
        return _Part(
            refiner,
            torch.from_numpy(rows),
            torch.from_numpy(refiner.slope),
            torch.from_numpy(shift),
        )
