"""Objective with the convex refiner, which is fitted again as the prompt changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompt
from craft_zoo.blackbox.meter import Meter
from craft_zoo.craft.held_out import HeldOut
from craft_zoo.craft.objective import Objective
from craft_zoo.craft.refiner_fitter import RefinerFitter
from craft_zoo.craft.replay_buffer import ReplayBuffer
from craft_zoo.errors import CraftZooError
from craft_zoo.losses import cross_entropy
from craft_zoo.optimizers import OutputLoss
from craft_zoo.refiner import ConvexRefiner, fit, held_out_folds
from craft_zoo.refiner.convex import CrossEntropy, log_shares
from craft_zoo.seeding import generator
from craft_zoo.solution import Solution
from craft_zoo.tensors import Tensor, tensor

_REPLAY_BYTES = 2**29
_FOLDS_TO_HOLD_OUT = 4  # with fewer folds, one is too large a share of the shots


@dataclass(frozen=True)
class _Part:
    """Affine map ``logits @ slope + shift`` of the refiner that is used for one fold's images.

    The shift contains the logarithms of the classes' shares of the training images.
    """

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
    improves less as the context does. With fewer than ten classes the logits themselves are a part
    of both.

    With one shot, the refiner is fitted to the logits under the initial context too, as 10 images
    under a context that was searched on them say little about others.

    If the last of four folds is large enough (see :class:`HeldOut`), the search does not use it
    until the searched context has a lower loss on it than the initial one; while the searched
    context seems worse, the initial one is deployed.

    Args:
        fitter: fits the deployed refiner; it has the labels of the training images.
        meter: counts the queries.
        refit_queries: see :class:`CraftConfig`.
        patience: see :class:`CraftConfig`.
        seed: seed of its random draws.
    """

    def __init__(
        self,
        fitter: RefinerFitter,
        *,
        meter: Meter,
        refit_queries: int,
        patience: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(fitter.labels)
        self._fitter, self._meter, self._every = fitter, meter, refit_queries
        self._patience = patience
        self._next_fit = 0
        self._refiner: ConvexRefiner | None = None
        self._parts: list[_Part] = []
        self._first: Solution | None = None
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
        self._refiner = self._fitter.fit(logits)
        if self._first is None:
            self._first = self._fitter.solution(prompt, self._refiner)
            self._first_accuracy = self.deployed_accuracy(logits)
        self._parts = self._cross_fit(logits if sample is None else sample)
        if not self._held_out.search_may_use:
            refined = self._parts[-1].refined(tensor(logits))
            self._held_out.observe(refined, self._meter.queries)

    def losses(self, logits: np.ndarray) -> list[float]:
        """Cross-entropy of the refined logits of each candidate."""
        returned, total = tensor(logits), tensor(np.zeros(len(logits), np.float32))
        for part in self._search_parts:
            loss = cross_entropy(part.refined(returned), self._targets[part.rows])
            total += len(part.rows) * loss
        return (total / sum(len(part.rows) for part in self._search_parts)).tolist()

    def output_loss(self, rows: np.ndarray) -> OutputLoss:
        """Cross-entropy of the refined logits, convex in the logits."""
        pieces, order, shifts, targets, done = [], [], [], [], 0
        for part in self._search_parts:
            judged = np.asarray(part.rows)
            mine = np.flatnonzero(np.isin(judged, rows))
            pieces.append((slice(done, done + len(mine)), np.asarray(part.slope)))
            done += len(mine)
            order.append(np.searchsorted(rows, judged[mine]))
            shifts.append(np.asarray(part.shift)[mine])
            targets.append(self.labels[judged[mine]])
        # One evaluation for the images of all folds: this function is called thousands of times.
        where, shift = np.concatenate(order), np.concatenate(shifts)
        of_all = CrossEntropy(tensor(np.concatenate(targets)))

        def loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
            returned = logits[where]
            refined = shift.copy()
            for piece, slope in pieces:
                refined[piece] += returned[piece] @ slope
            total, step = of_all(tensor(refined))
            for piece, slope in pieces:
                np.matmul(np.asarray(step)[piece], slope.T, out=returned[piece])
            gradient = np.zeros_like(logits)
            gradient[where] = returned
            return total, gradient

        return loss

    def solution(self, prompt: Prompt) -> Solution:
        """Prompt, refiner and anchors; the initial ones while :attr:`HeldOut.worse` holds."""
        if self._held_out.worse and self._first is not None:
            return self._first
        return self._fitter.solution(prompt, self._fitted)

    def refine(self, logits: np.ndarray) -> np.ndarray:
        """See :meth:`Objective.refine`."""
        return self._fitter.refine(self._fitted, logits, self._images)

    def deployed_accuracy(self, logits: np.ndarray | None) -> float:
        """See :meth:`Objective.deployed_accuracy`."""
        return self._first_accuracy if self._held_out.worse else super().deployed_accuracy(logits)

    @property
    def ended(self) -> str | None:
        """See :meth:`Objective.ended`."""
        if not self._held_out.given_up:
            return None
        return "held-out shots find the searched context worse than the initial one"

    # The folds are made after the first fit, which leaves out images.
    @cached_property
    def _folds(self) -> np.ndarray | None:
        return held_out_folds(self._fitter.labels, self._fitter.groups)

    @cached_property
    def _held_out(self) -> HeldOut:
        return HeldOut(self._targets[self._last_fold()], patience=self._patience)

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
        return self._fitter.rows[self._folds == self._folds.max()]

    def _cross_fit(self, logits: np.ndarray) -> list[_Part]:
        fitter = self._fitter
        if self._folds is None:
            return [self._part(np.arange(len(fitter.rows)), self._fitted)]
        assert fitter.cross_fitted is not None, "chosen at the first fit"
        logits, parts = logits[fitter.rows], list[_Part]()
        # The images of fold -1 are never held out; they come first if there are any.
        for place, fold in enumerate(np.unique(self._folds)):
            kept = np.flatnonzero((self._folds != fold) | (fold < 0))
            judged = np.flatnonzero(self._folds == fold)
            refiner = fit(
                *fitter.learnt(logits, among=kept),
                regularization=fitter.cross_fitted,
                start=self._parts[place].refiner if self._parts else None,
            )
            parts.append(self._part(judged, refiner))
        return parts

    def _part(self, rows: np.ndarray, refiner: ConvexRefiner) -> _Part:
        fitter = self._fitter
        anchors = None if fitter.anchor_logits is None else fitter.anchor_logits[rows]
        none = np.zeros((len(rows), refiner.n_classes), dtype=np.float32)
        shift = refiner.refine(none, anchors) + log_shares(fitter.labels, refiner.n_classes)
        return _Part(
            refiner,
            tensor(fitter.rows[rows]),
            tensor(refiner.slope),
            tensor(shift),
        )
