"""RefinerFitter: fits the convex refiner and the local classifier that belong to a prompt."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from craft_zoo.anchors import Anchors, Background, keep_best
from craft_zoo.blackbox.base import ImageSet, Prompt
from craft_zoo.counts import counted
from craft_zoo.errors import CraftZooWarning
from craft_zoo.local_features import LocalClassifier, fit_classifiers, fused
from craft_zoo.losses import mean_losses
from craft_zoo.printable import printable
from craft_zoo.refiner import (
    ConvexRefiner,
    Regularization,
    calibration_scale,
    choose_both,
    choose_regularization,
    fit_logistic,
    held_out_logits,
    with_discriminants,
)
from craft_zoo.refiner.convex import centred, log_shares
from craft_zoo.refiner.folds import Splits, held_out_splits
from craft_zoo.refiner.prior import UNIFORM, log_prior
from craft_zoo.refiner.sampling import LARGE
from craft_zoo.refiner.transductive import TransductiveClassifier
from craft_zoo.solution import Solution, are_learnt_from, are_refused

# Weights of the parts with whitened anchors where nothing can be held out to choose them. With 1
# and 0.05 the classes are the same, and their probabilities far too sure.
_ONE_SHOT_WEIGHTS = 0.0, 0.6, 0.03
_WORSE = 1.1  # factor by which a background may increase the held-out loss; else it is left out


@dataclass(kw_only=True)
class RefinerFitter:
    """Fits the convex refiner, and a classifier on local features whose logits are added to it.

    The anchors to deploy, regularization and weights are chosen once, at the first fit: a context
    that was searched on all shots also fits the shots held out here, so a later choice would be
    weaker.

    Images that a service refused to answer about are left out, see :func:`are_learnt_from`: of all
    fits if they were refused at the first one, else of the fit to the answer in which they were.
    After the first fit, labels, groups and anchor logits are those of the images that are not left
    out of all. With local features, which refused images have too, choices are made on all images.

    Args:
        labels: (N,) int64 of the training images.
        classnames: the C class names, for warnings.
        groups: (N,) see :func:`craft_zoo.refiner.held_out_folds`.
        discriminant: see :class:`CraftConfig`.
        initial_answer: see :class:`CraftConfig`.
        prior: see :class:`CraftConfig`.
        anchors: the anchors of the refiner; None: it has none. After the first fit, those that are
            deployed.
        anchor_logits: (N, M) logits of the anchors on the training images.
        deployed: maximum number of anchors that are deployed; None: all.
        background: covariance by which the anchor logits are whitened at the first fit; None: they
            are not.
        local: names of local features; "": none.
        features: (N, F) of each name in ``local``.

    Attributes:
        rows: (n,) indices of the images that are not left out of all fits, among the N.
        classifier: the local classifier, after the first fit; None without local features.
        cross_fitted: regularization of the refiners that the search uses, after the first fit.
    """

    labels: np.ndarray
    classnames: Sequence[str]
    discriminant: bool
    initial_answer: bool
    groups: np.ndarray | None = None
    prior: str = UNIFORM
    anchors: Anchors | None = None
    anchor_logits: np.ndarray | None = None
    deployed: int | None = None
    background: Background | None = None
    local: str = ""
    features: Sequence[np.ndarray] = ()
    rows: np.ndarray = field(init=False)
    classifier: LocalClassifier | None = field(default=None, init=False)
    cross_fitted: Regularization | None = field(default=None, init=False)
    _regularization: Regularization | None = field(default=None, init=False)
    _logistic: ConvexRefiner | None = field(default=None, init=False)
    _initial: np.ndarray | None = field(default=None, init=False)
    _whitening: np.ndarray | None = field(default=None, init=False)
    _transductive: TransductiveClassifier | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.rows = np.arange(len(self.labels))

    @cached_property
    def splits(self) -> Splits | None:
        """The folds of the training images, see :func:`held_out_splits`."""
        return held_out_splits(self.labels, self.groups)

    def fit(self, logits: np.ndarray) -> ConvexRefiner:
        """Fit a refiner to the logits (N, C) of the training images, beginning with the last fit.

        Warns at the first fit if all images of a class were refused.

        Args:
            logits: the logits under the prompt, similar to those of the last fit.
        """
        if self._regularization is None and not self.local:
            self._leave_out_refused(logits)
        logits = logits[self.rows]
        if self._regularization is None:
            self._regularization = self._choose(logits)
            if self.initial_answer and self.splits is None:
                self._initial = logits
        chosen = self._regularization
        if chosen.weights[1]:
            several = [logits] if self._initial is None else [self._initial, logits]
            self._logistic = fit_logistic(
                *self.learnt(*several), regularization=chosen, start=self._logistic
            )
        refiner = with_discriminants(self._logistic, *self.learnt(logits), regularization=chosen)
        return replace(refiner, bias=refiner.bias + self._log_prior(refiner.n_classes))

    def learnt(
        self, *answers: np.ndarray, among: np.ndarray | slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Logits, labels and anchor logits of what a fit to several answers learns from.

        These are the images of each answer, one answer after the other, without refused ones.

        Args:
            answers: (n, C) logits of the images that are not left out, for each answer.
            among: which of the n images are used.
        """
        count = len(answers)
        logits = np.concatenate([each[among] for each in answers])
        labels, anchors = np.tile(self.labels[among], count), self.anchor_logits
        if anchors is not None:
            anchors = np.tile(anchors[among], (count, 1))
        kept = are_learnt_from(labels, logits, anchors)
        return logits[kept], labels[kept], None if anchors is None else anchors[kept]

    def solution(self, prompt: Prompt, refiner: ConvexRefiner) -> Solution:
        """The solution of a prompt and a refiner that was fitted to its logits."""
        if self._whitening is not None:
            refiner = refiner.with_anchors_mapped(self._whitening)
        return Solution(prompt, refiner, self.anchors, self.classifier, self._transductive)

    def refine(self, refiner: ConvexRefiner, logits: np.ndarray, images: ImageSet) -> np.ndarray:
        """(N, C) deployed logits of the training images.

        Args:
            refiner: a refiner that was fitted here.
            logits: (N, C) under its prompt.
            images: the training images.
        """
        refined = np.zeros_like(logits)  # of refused images, as in Solution.refine
        refined[self.rows] = refiner.refine(logits[self.rows], self.anchor_logits)
        return refined if self.classifier is None else refined + self.classifier.logits(images)

    def _leave_out_refused(self, logits: np.ndarray) -> None:
        """Leave out the images that were refused in the first answer, (N, C) logits, for good."""
        refused = are_refused(logits, self.anchor_logits)
        lacking = np.setdiff1d(self.labels, self.labels[~refused])
        if len(lacking) and not refused.all():
            warnings.warn(
                f"the model refused to answer about all training images of "
                f"{counted(len(lacking), 'class')}, such as "
                f"{printable(self.classnames[lacking[0]])!r}, of which the adapter learns nothing: "
                f"add images, or leave such classes out",
                CraftZooWarning,
                stacklevel=2,
            )
        self.rows = np.flatnonzero(are_learnt_from(self.labels, logits, self.anchor_logits))
        self.labels = self.labels[self.rows]
        self.groups = None if self.groups is None else self.groups[self.rows]
        if self.anchor_logits is not None:
            self.anchor_logits = self.anchor_logits[self.rows]

    def _log_prior(self, n_classes: int) -> np.ndarray:
        return log_prior(self.prior, self.labels, n_classes)

    def _choose(self, logits: np.ndarray) -> Regularization:
        if self.anchors is not None and self.anchor_logits is not None:
            self.anchors, self.anchor_logits = keep_best(
                self.anchors, self.anchor_logits, logits, self.labels, self.deployed
            )
            prior = self._log_prior(logits.shape[1])
            self._transductive = TransductiveClassifier.of(self.anchor_logits, self.labels, prior)
        if self.background is None or self.anchors is None:
            chosen, self.cross_fitted = self._chosen_for(logits, self.anchor_logits)
        else:
            chosen, self.cross_fitted = self._whiten(self.background, self.anchors, logits)
        local = None
        if self.local:
            experts = fit_classifiers(self.features, self.labels, logits.shape[1], self.groups)
            refined = None
            if self.splits is not None:
                refined = held_out_logits(
                    logits, self.labels, self.anchor_logits, chosen, self.splits
                )
            weight, self.classifier, local = fused(self.local, experts, self.labels, refined)
            chosen = chosen.weighted(weight)
        if self.discriminant or self.local:
            task = logits, self.labels, self.anchor_logits
            scale = calibration_scale(*task, chosen, local, self.groups)
            chosen = chosen.weighted(scale)
            if self.classifier is not None:
                self.classifier = self.classifier.weighted(scale)
        return chosen

    def _chosen_for(
        self, logits: np.ndarray, anchor_logits: np.ndarray | None
    ) -> tuple[Regularization, Regularization]:
        """Regularization of the deployed refiner, and of those that a search uses."""
        task = logits, self.labels, anchor_logits, self.groups
        if not self.discriminant:
            chosen = choose_regularization(*task)
            return chosen, chosen
        chosen, cross_fitted = choose_both(*task)
        given, logistic, discriminant = chosen.weights
        if given:
            # A logistic regression alone may invert the logits of a few classes. The deployed
            # refiner does not, and would become worse while the search reduces its loss.
            cross_fitted = replace(chosen, weights=(given, logistic + discriminant, 0.0))
        return chosen, cross_fitted

    def _whiten(
        self, background: Background, anchors: Anchors, logits: np.ndarray
    ) -> tuple[Regularization, Regularization]:
        """Whiten the anchor logits by the background, unless that makes the refiner worse.

        It does if the background's images are like those of the task: what tells the classes apart
        is then what varies most in the background, and whitening makes it as small as all else.

        Args:
            background: the background.
            anchors: the deployed anchors, M.
            logits: (N, C) under the prompt.

        Returns:
            As :meth:`_chosen_for`, for the anchor logits as they are then.
        """
        assert self.anchor_logits is not None
        own = centred(self.anchor_logits)
        if background.is_like(own, anchors.texts):
            _warn_left_out()
            return self._chosen_for(logits, self.anchor_logits)
        matrix = background.whitening(anchors.texts)
        whitened = own @ matrix
        chosen, cross_fitted = self._chosen_for(logits, whitened)
        if self.splits is None:
            if self.discriminant:
                chosen = replace(chosen, weights=_ONE_SHOT_WEIGHTS)
        elif logits.size <= LARGE:  # fits of larger tasks would take minutes
            plain = self._chosen_for(logits, self.anchor_logits)
            before = self._held_out_loss(logits, self.anchor_logits, plain[0])
            if self._held_out_loss(logits, whitened, chosen) > _WORSE * before:
                _warn_left_out()
                return plain
        self.anchor_logits, self._whitening = whitened, matrix
        return chosen, cross_fitted

    def _held_out_loss(
        self, logits: np.ndarray, anchor_logits: np.ndarray, regularization: Regularization
    ) -> float:
        """Mean cross-entropy of the images by refiners that were fitted without them."""
        assert self.splits is not None
        refined = held_out_logits(logits, self.labels, anchor_logits, regularization, self.splits)
        refined += log_shares(self.labels, logits.shape[1])
        return float(mean_losses(refined, self.labels))


def _warn_left_out() -> None:
    warnings.warn(
        "the background is left out, as the refiner is better without it: make one of photographs "
        "as different as possible and unlike those of the task, or of drawn images",
        CraftZooWarning,
        stacklevel=2,
    )
