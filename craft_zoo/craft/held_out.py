"""Held-out shots' say on whether the searched context is worth deploying."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

_MIN_IMAGES = 100  # images that can have a say: 10 and 40 did not notice gains of 15 and 7 points
_PRIOR_MEAN, _PRIOR_STD = -0.2, 0.2  # what a search changes in a cross-entropy, before looking
_Z_RELEASE = 3.0  # standard errors, as there are many looks
_MIN_STANDARD_ERROR = 1e-3  # error, where hardly anything has changed
_INVERSE_TEMPERATURES = [2.0 ** (k / 4) for k in range(-16, 5)]


class HeldOut:
    """Compares the searched context with the initial one on shots that the search is not given.

    By the mean difference of the images' cross-entropies, in its standard errors. The refined
    logits are scaled first so that theirs is least: where a refiner is merely too sure of itself,
    the predictions may be better all the same.

    A few images say little, and most searches pay, so the doubt is to the search's benefit: the
    searched context is deployed unless what is to be believed after looking (normal, from what was
    to be expected before) is that it is worse. Once it is better by three standard errors, the
    shots are given to the search.

    Args:
        targets: (n,) int64, of the images held out.
        patience: queries after which a search that they speak against all the while is given up.

    Attributes:
        released: the search has been found worth it.
        against: what is searched now is worse.
        hopeless: it has been so for long.
    """

    def __init__(self, targets: Tensor, *, patience: int) -> None:
        self._targets, self._patience = targets, patience
        self._first: Tensor | None = None
        self._since: int | None = None  # queries at which the first of these verdicts fell
        self.released = patience == 0 or len(targets) < _MIN_IMAGES
        self.against = self.hopeless = False

    def observe(self, refined: Tensor, queries: int) -> None:
        """Judge (n, C) refined logits under the searched context; first, under the initial one."""
        if self.released:
            return
        losses = self._losses(refined)
        if self._first is None:
            self._first = losses
            return
        difference = losses - self._first
        mean = float(difference.mean())
        error = max(float(difference.std()) / len(losses) ** 0.5, _MIN_STANDARD_ERROR)
        self.released = mean < -_Z_RELEASE * error
        self.against = mean / error**2 + _PRIOR_MEAN / _PRIOR_STD**2 > 0
        if not self.against:
            self._since = None
        elif self._since is None:
            self._since = queries
        else:
            self.hopeless = queries - self._since >= self._patience

    def _losses(self, refined: Tensor) -> Tensor:
        scaled = [
            F.cross_entropy(s * refined, self._targets, reduction="none")
            for s in _INVERSE_TEMPERATURES
        ]
        return min(scaled, key=lambda losses: float(losses.mean()))
