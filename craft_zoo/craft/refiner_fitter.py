"""RefinerFitter: fits what is deployed beside a prompt, convex refiner and local classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from craft_zoo.adapter import Solution
from craft_zoo.anchors import Anchors, keep_best
from craft_zoo.blackbox.base import Prompt
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


@dataclass(kw_only=True)
class RefinerFitter:
    """Fits the convex refiner, and a classifier on local features whose logits are added to it.

    The anchors to deploy, regularization and weights are chosen once, at the first fit: a context
    that was searched on all shots also fits the shots held out here, so a later choice would be
    weaker.

    Args:
        labels: (N,) int64 of the training images.
        discriminant: see :class:`CraftConfig`.
        initial_answer: see :class:`CraftConfig`.
        prior: see :class:`CraftConfig`.
        anchors: the anchors of the refiner; None: it has none. After the first fit, those that are
            deployed.
        anchor_logits: (N, M) logits of the anchors on the training images.
        deployed: maximum number of anchors that are deployed; None: all.
        local: names of local features; "": none.
        features: (N, F) of each name in ``local``.

    Attributes:
        classifier: the local classifier, after the first fit; None without local features.
    """

    labels: np.ndarray
    discriminant: bool
    initial_answer: bool
    prior: str = UNIFORM
    anchors: Anchors | None = None
    anchor_logits: np.ndarray | None = None
    deployed: int | None = None
    local: str = ""
    features: Sequence[np.ndarray] = ()
    classifier: LocalClassifier | None = field(default=None, init=False)
    _regularization: Regularization | None = field(default=None, init=False)
    _initial: np.ndarray | None = field(default=None, init=False)

    def fit(self, logits: np.ndarray, start: ConvexRefiner | None = None) -> ConvexRefiner:
        """Fit a refiner to (N, C) logits of the training images.

        Args:
            logits: the logits under the prompt.
            start: a refiner fitted to similar logits, from which the fit begins.
        """
        if self._regularization is None:
            self._regularization = self._choose(logits)
            if self.initial_answer and held_out_folds(self.labels) is None:
                self._initial = logits
        given = [logits] if self._initial is None else [self._initial, logits]
        anchors = self.anchor_logits
        refiner = fit(
            np.concatenate(given),
            np.tile(self.labels, len(given)),
            None if anchors is None else np.tile(anchors, (len(given), 1)),
            regularization=self._regularization,
            start=start,
        )
        prior = log_prior(self.prior, self.labels, refiner.n_classes)
        return replace(refiner, bias=refiner.bias + prior)

    def solution(self, prompt: Prompt, refiner: ConvexRefiner) -> Solution:
        """What is deployed with a prompt and a refiner that was fitted to its logits."""
        return Solution(prompt, refiner, self.anchors, self.classifier)

    def _choose(self, logits: np.ndarray) -> Regularization:
        if self.anchors is not None and self.anchor_logits is not None:
            self.anchors, self.anchor_logits = keep_best(
                self.anchors, self.anchor_logits, logits, self.labels, self.deployed
            )
        choose = choose_sum if self.discriminant else choose_regularization
        chosen = choose(logits, self.labels, self.anchor_logits)
        if not self.local:
            return chosen
        experts = fit_classifiers(self.features, self.labels, logits.shape[1])
        refined = None
        if held_out_folds(self.labels) is not None:
            refined = held_out_logits(logits, self.labels, self.anchor_logits, chosen)
        weight, self.classifier = fused(self.local, experts, self.labels, refined)
        given, logistic, discriminant = (weight * each for each in chosen.weights)
        return replace(chosen, weights=(given, logistic, discriminant))
