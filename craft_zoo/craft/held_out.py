"""Comparison of the searched context with the initial one on held-out images."""

from __future__ import annotations

import numpy as np

from craft_zoo.tensors import Tensor, log_softmax, picked

_MIN_IMAGES = 100  # tests with 10 and 40 images missed gains of 15 and 7 points
_PRIOR_MEAN, _PRIOR_STD = -0.2, 0.2  # change of the cross-entropy by a search
_Z_SCORE = 3.0  # standard errors; above 2, as the test is repeated many times
_MIN_STANDARD_ERROR = 1e-3  # for contexts under which hardly any logit has changed
_INVERSE_TEMPERATURES = [2.0 ** (k / 4) for k in range(-16, 5)]


class HeldOut:
    """Compares the searched context with the initial one on images that the search does not use.

    The statistic is the mean difference of the images' cross-entropies and its standard error. The
    refined logits are first divided by the temperature that minimizes their cross-entropy, so that
    an overconfident refiner with better predictions does not count as worse.

    The prior favours the search, as most searches improve the loss and a mean over few images is
    noisy: the searched context is deployed unless the posterior mean difference is positive (normal
    prior and likelihood). Once the difference is below minus three standard errors, the search may
    use the held-out images too.

    Args:
        targets: (n,) int64 labels of the held-out images.
        patience: queries after which a search that has been worse all the time is given up.

    Attributes:
        search_may_use: whether the search may use the held-out images.
        worse: the posterior mean says that the searched context is worse.
        given_up: it has been worse for ``patience`` queries.
    """

    def __init__(self, targets: Tensor, *, patience: int) -> None:
        self._targets, self._patience = targets, patience
        self._first: Tensor | None = None
        self._worse_since: int | None = None  # queries
        self.search_may_use = patience == 0 or len(targets) < _MIN_IMAGES
        self.worse = self.given_up = False

    def observe(self, refined: Tensor, queries: int) -> None:
        """Update the decision.

        Args:
            refined: (n, C) refined logits; in the first call under the initial context, then under
                the searched one.
            queries: made so far.
        """
        if self.search_may_use:
            return
        losses = self._losses(refined)
        if self._first is None:
            self._first = losses
            return
        difference = np.asarray(losses - self._first)
        mean = float(difference.mean())
        error = max(float(difference.std(ddof=1)) / len(losses) ** 0.5, _MIN_STANDARD_ERROR)
        self.search_may_use = mean < -_Z_SCORE * error
        self.worse = mean / error**2 + _PRIOR_MEAN / _PRIOR_STD**2 > 0
        if not self.worse:
            self._worse_since = None
        elif self._worse_since is None:
            self._worse_since = queries
        else:
            self.given_up = queries - self._worse_since >= self._patience

    def _losses(self, refined: Tensor) -> Tensor:
        scaled = [-picked(log_softmax(s * refined), self._targets) for s in _INVERSE_TEMPERATURES]
        return min(scaled, key=lambda losses: float(losses.mean()))
