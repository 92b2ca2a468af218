"""RefinerFitter: fits what is deployed beside a prompt, convex refiner and local classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from craft_zoo.local_features import LocalClassifier, fit_classifiers, fused
from craft_zoo.refiner import (
    ConvexRefiner,
    Regularization,
    choose_regularization,
    choose_sum,
    fit,
    held_out_folds,
    held_out_logits,
)
from craft_zoo.refiner.prior import UNIFORM, log_prior


@dataclass
class RefinerFitter:
    """Fits the convex refiner, and a classifier on local features whose logits are added to it.

    Regularization and weights are chosen once, at the first fit: a context that was searched on all
    shots also fits the shots held out here, so a later choice would be weaker.

    Args:
        labels: (N,) int64 of the training images.
        discriminant: see :class:`CraftConfig`.
        prior: see :class:`CraftConfig`.
        anchor_logits: (N, M) logits of the anchors on the training images; None: no anchors.
        local: names of local features; "": none.
        features: (N, F) of each name in ``local``.

    Attributes:
        classifier: the local classifier, after the first fit; None without local features.
    """

    labels: np.ndarray
    discriminant: bool
    prior: str = UNIFORM
    anchor_logits: np.ndarray | None = None
    local: str = ""
    features: Sequence[np.ndarray] = ()
    classifier: LocalClassifier | None = None
    _regularization: Regularization | None = None

    def fit(self, logits: np.ndarray, start: ConvexRefiner | None = None) -> ConvexRefiner:
        """Fit a refiner to (N, C) logits of the training images.

        Args:
            logits: the logits under the prompt.
            start: a refiner fitted to similar logits, from which the fit begins.
        """
        if self._regularization is None:
            self._regularization = self._choose(logits)
        refiner = fit(
            logits,
            self.labels,
            self.anchor_logits,
            regularization=self._regularization,
            start=start,
        )
        prior = log_prior(self.prior, self.labels, refiner.n_classes)
        return replace(refiner, bias=refiner.bias + prior)

    def _choose(self, logits: np.ndarray) -> Regularization:
        choose = choose_sum if self.discriminant else choose_regularization
        chosen = choose(logits, self.labels, self.anchor_logits)
        if not self.local:
            return chosen
        experts = fit_classifiers(self.features, self.labels, logits.shape[1])
        refined = None
        if held_out_folds(self.labels) is not None:
            refined = held_out_logits(logits, self.labels, self.anchor_logits, chosen)
        weight, self.classifier = fused(self.local, experts, self.labels, refined)
        logistic, discriminant = chosen.weights
        return replace(chosen, weights=(weight * logistic, weight * discriminant))
