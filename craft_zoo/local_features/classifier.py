"""Linear classifiers on local features, and their fusion with refined logits of a black box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from craft_zoo.blackbox.base import ImageSet
from craft_zoo.errors import CraftZooError
from craft_zoo.local_features.registry import extract
from craft_zoo.metrics import accuracy
from craft_zoo.refiner.convex import fit
from craft_zoo.refiner.folds import (
    calibration_splits,
    folds_leave_one_image,
    held_out_splits,
)
from craft_zoo.refiner.selection import (
    choose_sum,
    held_out_logits,
    share_of_evidence,
    sum_weights,
)

_LEAST_DEVIATION = 0.1  # of a feature, relative to the mean of all


@dataclass(frozen=True)
class LocalClassifier:
    """Linear classifier on local features; its logits are added to refined ones.

    The sum of logits multiplies the probabilities of both. The scale of the logits is the weight of
    the classifier in that product.

    Attributes:
        features: names of the features, see :func:`craft_zoo.local_features.extract`.
        weight: (F, C) float32 for all features one after another.
        bias: (C,) float32.
        held_out: shares of the training images that were classified correctly while held out, by
            local features alone and by them together with the model's answers; None where nothing
            was held out. They are not saved in adapters.
    """

    features: str
    weight: np.ndarray
    bias: np.ndarray
    held_out: tuple[float, float] | None = None

    def logits(self, images: ImageSet) -> np.ndarray:
        """(N, C) float32 logits of N images, without querying a model.

        Raises:
            CraftZooError: the features cannot be computed, or are others than those of the fit.
        """
        features = np.concatenate(extract(self.features, images), axis=1)
        if features.shape[1] != len(self.weight):
            raise CraftZooError(
                f"the local features {self.features} are {features.shape[1]} numbers here and were "
                f"{len(self.weight)} when the classifier was fitted: tune again"
            )
        return features @ self.weight + self.bias

    def weighted(self, factor: float) -> LocalClassifier:
        """The same with its logits multiplied."""
        return replace(self, weight=factor * self.weight, bias=factor * self.bias)


@dataclass(frozen=True)
class Expert:
    """A linear classifier on the features of one extractor.

    Attributes:
        weight: (F, C).
        bias: (C,).
        held_out: (N, C) logits of each training image, from a classifier fitted without its fold;
            None: nothing can be held out.
        calibration: the same by the splits of :func:`calibration_splits`.
    """

    weight: np.ndarray
    bias: np.ndarray
    held_out: np.ndarray | None
    calibration: np.ndarray | None


def fit_classifiers(
    features: Sequence[np.ndarray],
    labels: np.ndarray,
    n_classes: int,
    groups: np.ndarray | None = None,
) -> list[Expert]:
    """Fit a classifier to each extractor's features: logistic regression plus discriminants.

    Args:
        features: (N, F) of each extractor.
        labels: (N,) int64, with every class among them.
        n_classes: C.
        groups: (N,) see :func:`craft_zoo.refiner.held_out_folds`.
    """
    nothing = np.zeros((len(labels), n_classes), np.float32)
    splits = held_out_splits(labels, groups)
    for_scale = None
    if folds_leave_one_image(labels, groups):
        for_scale = calibration_splits(labels, groups)
    experts = []
    for each in features:
        deviation = each.std(axis=0)
        scale = np.maximum(deviation, max(_LEAST_DEVIATION * float(deviation.mean()), 1e-12))
        x = ((each - each.mean(axis=0)) / scale).astype(np.float32)
        regularization = choose_sum(nothing, labels, x, groups)
        refiner = fit(nothing, labels, x, regularization=regularization)
        weight = refiner.weight[n_classes:]
        weight = (weight - weight.mean(axis=0)) / scale[:, None]  # a refiner centres its input
        bias = refiner.bias - each.mean(axis=0) @ weight
        of_task = nothing, labels, x, regularization
        held_out = None if splits is None else held_out_logits(*of_task, splits)
        calibration = held_out if for_scale is None else held_out_logits(*of_task, for_scale)
        experts.append(Expert(weight, bias, held_out, calibration))
    return experts


def fused(
    spec: str,
    experts: Sequence[Expert],
    labels: np.ndarray,
    refined: np.ndarray | None = None,
) -> tuple[float, LocalClassifier, np.ndarray | None]:
    """Weights of a product of experts: the refined answers and the local classifiers.

    Args:
        spec: names of the features.
        experts: the classifier of each, as from :func:`fit_classifiers`.
        labels: (N,) int64.
        refined: (N, C) held-out refined logits, see :func:`held_out_logits`; None: nothing can be
            held out, or the method makes no queries.

    Returns:
        The weight of the refined logits, the weighted sum of all experts as one classifier, and the
        (N, C) sum of their calibration logits, None without these.
    """
    mean = [1.0, *[share_of_evidence(labels)] * len(experts)]
    weights, correct = np.array(mean), None
    held_out = [expert.held_out for expert in experts if expert.held_out is not None]
    if held_out:
        parts = np.stack(held_out)
        weights[1:] = sum_weights(parts, labels, mean[1:])
        if refined is not None:
            alone = accuracy(np.tensordot(weights[1:], parts, 1), labels)
            parts = np.stack([refined, *held_out])
            weights = sum_weights(parts, labels, mean)
            correct = alone, accuracy(np.tensordot(weights, parts, 1), labels)
    pairs = list(zip(weights[1:], experts, strict=True))
    weight = np.concatenate([each * expert.weight for each, expert in pairs])
    bias = np.sum([each * expert.bias for each, expert in pairs], axis=0)
    classifier = LocalClassifier(spec, weight.astype(np.float32), bias.astype(np.float32), correct)
    of_each = [each.calibration for each in experts if each.calibration is not None]
    calibration = np.tensordot(weights[1:], np.stack(of_each), 1) if of_each else None
    return float(weights[0]), classifier, calibration
