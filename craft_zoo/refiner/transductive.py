"""Transductive classification: images that are classified together, not one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from craft_zoo.refiner.convex import centred
from craft_zoo.refiner.discriminant import class_means

_STEPS = 6
_SHRINKAGE = 0.5
# A training image weighs as a tenth of the mean number of new images a class, at least as four, so
# that the mean of a class of which there is no new image stays where it is.
_WEIGHT, _LEAST_WEIGHT = 0.1, 4.0
_EQUAL = 4.0  # added to the frequencies of the classes, relative to their mean, when they are used


@dataclass(frozen=True)
class TransductiveClassifier:
    """Gaussian classes with one covariance, fitted to the images that are to be classified.

    Their anchor logits show how images of a class vary, which few training images do not, and where
    the classes lie. Labels are estimated in turn with the Gaussians (expectation and
    maximisation), beginning with the refiner's and never far from them. Zanella, Gérin and Ben Ayed
    (2024, "Boosting vision-language models with transduction") do so for features of a CLIP model
    whose weights are known.

    Attributes:
        means: (C, M) float32, mean centred anchor logits of each class's training images.
        images: (C,) float32, the number of training images of each class.
        log_prior: (C,) float32, see :func:`craft_zoo.refiner.prior.log_prior`.
    """

    means: np.ndarray
    images: np.ndarray
    log_prior: np.ndarray

    @classmethod
    def of(
        cls, anchors: np.ndarray, labels: np.ndarray, log_prior: np.ndarray
    ) -> TransductiveClassifier:
        """The classifier of a task.

        Args:
            anchors: (N, M) anchor logits of the training images.
            labels: (N,) int64.
            log_prior: (C,).
        """
        images = np.bincount(labels, minlength=len(log_prior)).astype(np.float32)
        means = class_means(centred(anchors), labels, len(images)).astype(np.float32)
        return cls(means, images, log_prior)

    def logits(self, logits: np.ndarray, anchors: np.ndarray) -> np.ndarray:
        """(N, C) float32 logits of N images together.

        Args:
            logits: (N, C) of the images one by one, whose softmax is their classes' probabilities.
            anchors: (N, M) anchor logits.
        """
        x = centred(anchors).astype(np.float64)
        centre = x.mean(axis=0)
        x, means = x - centre, self.means - centre
        second = x.T @ x
        count, n_classes = logits.shape
        images = self.images.clip(1)
        weight = images * max(_LEAST_WEIGHT, _WEIGHT * count / n_classes)
        width = _width(logits)
        gaussian = logits
        for _ in range(_STEPS):
            shares = softmax(logits + gaussian, axis=1)
            sums, sizes = shares.T @ x, shares.sum(axis=0)
            of_classes = (weight[:, None] * means + sums) / (weight + sizes)[:, None]
            cross = sums.T @ of_classes
            within = second - cross - cross.T + (of_classes * sizes[:, None]).T @ of_classes
            within /= count
            variance = max(float(np.trace(within)) / len(within), 1e-12)
            within *= 1 - _SHRINKAGE
            within[np.diag_indices_from(within)] += _SHRINKAGE * variance
            slope = np.linalg.solve(within, of_classes.T)
            gaussian = x @ slope - (of_classes.T * slope).sum(axis=0) / 2
            # Few images in many dimensions make the Gaussians far too sure.
            gaussian *= width / max(_width(gaussian), 1e-12)
            gaussian += np.log(_EQUAL + sizes * n_classes / count) / 2
        few = 5 / count + 1 / x.shape[1]  # images, anchors
        share = 1 / (1 + images.mean() / 8 + n_classes * few)
        mixed = logits + share * (gaussian + self.log_prior - logits)
        return (mixed * _scale_as_sure(mixed, _confidence(logits))).astype(np.float32)


def _width(logits: np.ndarray) -> float:
    """Standard deviation of (N, C) logits about the mean of each image."""
    return float(centred(logits).std())


def _confidence(logits: np.ndarray) -> float:
    """Mean over N images of the largest probability of a class, from (N, C) logits."""
    return float(softmax(logits, axis=1).max(axis=1).mean())


def _scale_as_sure(logits: np.ndarray, confidence: float) -> float:
    """Factor of (N, C) logits with which :func:`_confidence` has a value.

    Where two classifiers differ, the mean of their logits is less sure than both.
    """

    def difference(exponent: float) -> float:
        return (_confidence(logits * math.exp(exponent)) - confidence) ** 2

    return math.exp(float(minimize_scalar(difference, bounds=(-2, 2), method="bounded").x))
