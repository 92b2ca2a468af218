"""Objective with the convex refiner, which is fitted again as the prompt changes."""

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
    choose_sum,
    fit,
    held_out_folds,
)
from craft_zoo.refiner.convex import cross_entropy_and_slope
from craft_zoo.seeding import generator

_REPLAY_BYTES = 2**29
_FOLDS_TO_HOLD_OUT = 4  # with fewer folds, one is too large a share of the shots


@dataclass(frozen=True)
class _Part:
    """Affine map ``logits @ slope + shift`` of the refiner that is used for one fold's images."""

    refiner: ConvexRefiner
    rows: Tensor
    slope: Tensor
    shift: Tensor

    def refined(self, returned: Tensor) -> Tensor:
        """Refined logits (..., n, C) of the fold, from the logits (..., N, C) of all images."""
        return returned[..., self.rows, :] @ self.slope + self.shift


class ConvexObjective(Objective):
    """Cross-entropy of logits that a convex refiner corrects.

    With two shots or more, each image's loss uses a refiner that was fitted without that image
    (cross-fitting): a refiner that fits the few shots perfectly would leave no loss for the search
    to reduce. The loss is convex in the logits, as each refiner is linear. These refiners are
    logistic regressions also where the deployed one is a sum with discriminant analysis, which
    improves less as the context does.

    With one shot, the refiner is fitted to the logits under the initial context too, as 10 images
    under a context that was searched on them say little about others.

    If the last of four folds is large enough (see :class:`HeldOut`), the search does not use it
    until the searched context has a lower loss on it than the initial one; while the searched
    context seems worse, the initial one is deployed.

    Args:
        labels: (N,) int64.
        meter: counts the queries.
        discriminant: see :class:`CraftConfig`.
        initial_answer: see :class:`CraftConfig`.
        refit_queries: see :class:`CraftConfig`.
        patience: see :class:`CraftConfig`.
        seed: seed of its random draws.
        anchors: the anchors of the deployed refiner; None: it has none.
        anchor_logits: (N, M) logits of the anchors on the training images.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        meter: Meter,
        discriminant: bool,
        initial_answer: bool,
        refit_queries: int,
        patience: int = 0,
        seed: int = 0,
        anchors: Anchors | None = None,
        anchor_logits: np.ndarray | None = None,
    ) -> None:
        super().__init__(labels)
        self._meter, self._every = meter, refit_queries
        self._discriminant, self._initial_answer = discriminant, initial_answer
        self._anchors, self._anchor_logits = anchors, anchor_logits
        self._folds = held_out_folds(labels)
        self._deployed: Regularization | None = None
        self._searched: Regularization | None = None
        self._next_fit = 0
        self._refiner: ConvexRefiner | None = None
        self._parts: list[_Part] = []
        self._held_out = HeldOut(self._targets[self._last_fold()], patience=patience)
        self._first: Solution | None = None
        self._initial: np.ndarray | None = None  # logits under the initial context
        self._replay = ReplayBuffer(_REPLAY_BYTES, generator(seed, "refiner lessons"))

    def observe(self, logits: np.ndarray, loss: float) -> None:
        """See :meth:`Objective.observe`."""
        self._replay.add(logits, loss)

    def begin(self, search: BlackBox, images: ImageSet, start: Prompt) -> np.ndarray:
        """Query the initial prompt and fit the first refiner to its logits."""
        self._search, self._images = search, images
        logits = search.score(start, images)
        self.update(start, logits)
        return logits

    def update(self, prompt: Prompt, logits: np.ndarray | None) -> None:
        """Fit the refiner again if it is due; queries the prompt if its logits are missing."""
        # Under a refiner that was fitted on the deployed context alone, all candidates around that
        # context would have high losses, so cma would not progress. It is therefore fitted on
        # logits of several candidates, except in small generations, whose candidates are similar.
        sample = self._replay.sample() if self._replay.seen >= self._every else None
        self._replay.clear()
        if self._meter.queries < self._next_fit:
            return
        if logits is not None:
            sample = logits  # the deployed context is a candidate
        elif self._meter.remaining:
            logits = self._search.score(prompt, self._images)
        else:
            return
        self._next_fit = self._meter.queries + self._every
        if self._searched is None:
            # Chosen only once: a context that was searched on all shots also fits the shots held
            # out here, so a later choice would be weaker and the search would fit noise.
            given = logits, self.labels, self._anchor_logits
            self._searched = self._deployed = choose_regularization(*given)
            if self._discriminant:
                self._deployed = choose_sum(*given)
        given, rows = logits, np.arange(len(self.labels))
        if self._initial is not None and self._folds is None:
            given, rows = np.concatenate([self._initial, logits]), np.tile(rows, 2)
        self._refiner = self._fit(self._deployed, given, rows, self._refiner)
        if self._first is None:
            self._first = Solution(prompt, self._refiner, self._anchors)
            self._initial = logits if self._initial_answer else None
        self._parts = self._cross_fit(logits if sample is None else sample)
        if not self._held_out.search_may_use:
            refined = self._parts[-1].refined(torch.from_numpy(logits))
            self._held_out.observe(refined, self._meter.queries)

    def losses(self, logits: np.ndarray) -> list[float]:
        """Cross-entropy of the refined logits of each candidate."""
        with torch.inference_mode():
            returned = torch.from_numpy(logits)
            total = torch.zeros(len(logits))
            for part in self._search_parts:
                loss = cross_entropy(part.refined(returned), self._targets[part.rows])
                total += len(part.rows) * loss
            return (total / sum(len(part.rows) for part in self._search_parts)).tolist()

    def output_loss(self, rows: np.ndarray) -> OutputLoss:
        """Cross-entropy of the refined logits, convex in the logits."""
        pieces = []
        for part in self._search_parts:
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
        """Prompt, refiner and anchors; the initial ones while :attr:`HeldOut.worse` holds."""
        if self._held_out.worse and self._first is not None:
            return self._first
        return Solution(prompt, self._fitted, self._anchors)

    def refine(self, logits: np.ndarray) -> np.ndarray:
        """See :meth:`Objective.refine`."""
        return self._fitted.refine(logits, self._anchor_logits)

    @property
    def ended(self) -> str | None:
        """See :meth:`Objective.ended`."""
        if not self._held_out.given_up:
            return None
        return "held-out shots find the searched context worse than the initial one"

    @property
    def _search_parts(self) -> list[_Part]:
        """The folds that the search uses."""
        return self._parts if self._held_out.search_may_use else self._parts[:-1]

    @property
    def _fitted(self) -> ConvexRefiner:
        if self._refiner is None:
            raise CraftZooError("the objective was not prepared: call begin before the search")
        return self._refiner

    def _last_fold(self) -> np.ndarray:
        """Indices of the images that can be held out from the search."""
        if self._folds is None or self._folds.max() + 1 < _FOLDS_TO_HOLD_OUT:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self._folds == self._folds.max())

    def _fit(
        self,
        regularization: Regularization | None,
        logits: np.ndarray,
        rows: np.ndarray,
        start: ConvexRefiner | None,
    ) -> ConvexRefiner:
        assert regularization is not None
        anchors = None if self._anchor_logits is None else self._anchor_logits[rows]
        return fit(
            logits,
            self.labels[rows],
            anchors,
            regularization=regularization,
            start=start,
        )

    def _cross_fit(self, logits: np.ndarray) -> list[_Part]:
        if self._folds is None:
            return [self._part(np.arange(len(self.labels)), self._fitted)]
        parts = []
        for fold in range(self._folds.max() + 1):
            kept, judged = np.flatnonzero(self._folds != fold), np.flatnonzero(self._folds == fold)
            start = self._parts[fold].refiner if self._parts else None
            parts.append(self._part(judged, self._fit(self._searched, logits[kept], kept, start)))
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
