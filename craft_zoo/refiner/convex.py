"""ConvexRefiner, a linear correction of the logits, and its fit to the global optimum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import optimize

from craft_zoo import tensors
from craft_zoo.errors import CraftZooError
from craft_zoo.refiner.discriminant import class_means, discriminants
from craft_zoo.tensors import Tensor, log_softmax, negative_log_likelihood, svd, tensor

_ITERATIONS = 100
_TOLERANCE = 1e-5
# Decrease of the objective, for each logit, below which the iteration ends; and its limits.
_LEAST_DECREASE, _DECREASE_LIMITS = 6e-11, (1e-6, 1e-4)


@dataclass(frozen=True)
class Regularization:
    """Regularization of a :class:`ConvexRefiner`, and the weights of its three parts.

    Attributes:
        penalty: weight of the squared parameters of the logistic regression relative to the mean
            cross-entropy.
        whitening: share of the mean variance that is added to the within-class covariance of the
            features before it whitens them; None: one common scale for all features.
        shrinkage: of the discriminant analysis, see :func:`discriminants`.
        weights: weights of the given logits, of the logistic regression's and of the discriminants
            in the sum that is the refiner.
    """

    penalty: float
    whitening: float | None = None
    shrinkage: float = 1.0
    weights: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def weighted(self, factor: float) -> Regularization:
        """The same with all three weights multiplied."""
        given, logistic, discriminant = self.weights
        weights = (factor * given, factor * logistic, factor * discriminant)
        return replace(self, weights=weights)


@dataclass(frozen=True)
class ConvexRefiner:
    """``refined = logits + x W + b``; x concatenates the centred logits of classes and anchors.

    Centring subtracts, for each image, the mean over the texts of a label set. The result is the
    same whether a model returns logits or log-probabilities.

    Attributes:
        weight: W, (C + M, C) float32 for C classes and M anchor logits.
        bias: b, (C,) float32.
    """

    weight: np.ndarray
    bias: np.ndarray

    @property
    def n_classes(self) -> int:
        """C, the number of classes."""
        return self.weight.shape[1]

    @property
    def n_anchors(self) -> int:
        """M, the number of anchor logits."""
        return len(self.weight) - self.n_classes

    def refine(self, logits: np.ndarray, anchors: np.ndarray | None = None) -> np.ndarray:
        """Correct logits.

        Args:
            logits: (..., C) logits of the classes.
            anchors: (..., M) logits of the anchors, if the refiner was fitted with anchors.
        """
        n_anchors = 0 if anchors is None else anchors.shape[-1]
        if n_anchors != self.n_anchors:
            raise CraftZooError(
                f"the refiner was fitted with {self.n_anchors} anchor logits and is given "
                f"{n_anchors}: ask the model for the anchors that belong to it"
            )
        refined = logits @ self.slope + self.bias
        if anchors is not None:
            refined = refined + centred(anchors) @ self.weight[self.n_classes :]
        return refined

    def with_anchors_mapped(self, matrix: np.ndarray) -> ConvexRefiner:
        """The refiner of anchor logits a that equals this one of ``centred(a) @ matrix``.

        Args:
            matrix: (M, M) symmetric, of which equal logits are an eigenvector.
        """
        own, of_anchors = np.split(self.weight, [self.n_classes])
        return ConvexRefiner(np.concatenate([own, matrix @ of_anchors]), self.bias)

    @cached_property
    def slope(self) -> np.ndarray:
        """(C, C) derivative of the refined logits with respect to the logits."""
        own = self.weight[: self.n_classes]
        return np.eye(self.n_classes, dtype=np.float32) + own - own.mean(axis=0)


def centred(logits: np.ndarray) -> np.ndarray:
    """(..., K) logits minus their mean over the K texts."""
    return logits - logits.mean(axis=-1, keepdims=True)


def features(logits: np.ndarray, anchors: np.ndarray | None) -> np.ndarray:
    """(N, C + M) features of the linear correction."""
    parts = [centred(logits)] if anchors is None else [centred(logits), centred(anchors)]
    return np.concatenate(parts, axis=-1)


def fit(
    logits: np.ndarray,
    labels: np.ndarray,
    anchors: np.ndarray | None = None,
    *,
    regularization: Regularization,
    start: ConvexRefiner | None = None,
) -> ConvexRefiner:
    """Fit a refiner: a weighted sum of the logits, logistic regression and discriminant analysis.

    The logistic regression corrects the logits with the least penalised cross-entropy. The
    discriminant analysis (Gaussian classes with one covariance) needs fewer images to be good. Both
    are linear, and the sum of their logits multiplies their probabilities. Both take the classes as
    equally likely, whatever their numbers of images, see :func:`log_shares`.

    Args:
        logits: (N, C) logits of the classes.
        labels: (N,) int64.
        anchors: (N, M) logits of the anchors.
        regularization: see :func:`craft_zoo.refiner.choose_regularization`.
        start: warm start of the logistic regression, from similar logits; None: no correction.
    """
    logistic = None
    if regularization.weights[1]:
        given = logits, labels, anchors
        logistic = fit_logistic(*given, regularization=regularization, start=start)
    return with_discriminants(logistic, logits, labels, anchors, regularization=regularization)


def fit_logistic(
    logits: np.ndarray,
    labels: np.ndarray,
    anchors: np.ndarray | None,
    *,
    regularization: Regularization,
    start: ConvexRefiner | None,
) -> ConvexRefiner:
    """Fit the logistic regression alone; the arguments are those of :func:`fit`."""
    x, n_classes = features(logits, anchors), logits.shape[1]
    scaling = Scaling.of(x, labels, n_classes, regularization.whitening)
    begin = None if start is None else scaling.solution(start)
    offsets = logits + log_shares(labels, n_classes)
    path = solve_path(scaling(x), offsets, labels, [regularization.penalty], begin)
    return scaling.refiner(next(path))


def with_discriminants(
    logistic: ConvexRefiner | None,
    logits: np.ndarray,
    labels: np.ndarray,
    anchors: np.ndarray | None,
    *,
    regularization: Regularization,
) -> ConvexRefiner:
    """The weighted sum of logits, a fitted logistic regression and discriminants, see :func:`fit`.

    Args:
        logistic: from :func:`fit_logistic`; None if its weight is 0.
        logits: see :func:`fit`, as are the others.
    """
    n_classes = logits.shape[1]
    of_given, of_logistic, of_discriminant = regularization.weights
    if logistic is not None and regularization.weights == (0.0, 1.0, 0.0):
        return logistic
    # A refiner adds the logits themselves.
    inputs = n_classes + (0 if anchors is None else anchors.shape[1])
    weight = (of_given + of_logistic - 1) * np.eye(inputs, n_classes)
    bias = np.zeros(n_classes)
    if logistic is not None:
        weight += of_logistic * logistic.weight
        bias += of_logistic * logistic.bias
    if of_discriminant:
        x = features(logits, anchors)
        [(slope, shift)] = discriminants(x, labels, n_classes, [regularization.shrinkage])
        weight += of_discriminant * slope
        bias += of_discriminant * shift
    return ConvexRefiner(weight.astype(np.float32), bias.astype(np.float32))


def log_shares(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """(C,) float32 logarithms of the classes' shares of the images; 0 if all are equal.

    Added to the logits in training and left out afterwards, they keep a classifier from learning
    how many images of each class there are (logit adjustment, Menon et al. 2021).
    """
    counts = np.bincount(labels, minlength=n_classes)
    if (counts == counts[0]).all():
        return np.zeros(n_classes, np.float32)
    return np.log(counts.clip(1) / len(labels)).astype(np.float32)


@dataclass(frozen=True)
class Scaling:
    """Centring, optional whitening, and scaling of features to unit mean squared length."""

    mean: np.ndarray
    matrix: np.ndarray

    @classmethod
    def of(
        cls, x: np.ndarray, labels: np.ndarray, n_classes: int, whitening: float | None
    ) -> Scaling:
        """Fit the scaling to (N, K) features with (N,) labels."""
        mean = x.mean(axis=0)
        moved = x - mean
        if whitening is None:
            matrix = np.eye(x.shape[1], dtype=np.float32)
        else:
            matrix = _whitener(moved, labels, n_classes, whitening)
        length = np.sqrt(np.square(moved @ matrix).sum(axis=1).mean())
        return cls(mean, (matrix / max(float(length), 1e-12)).astype(np.float32))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(N, K + 1) scaled features; the last column is 1."""
        scaled = (x - self.mean) @ self.matrix
        return np.concatenate([scaled, np.ones((len(x), 1), dtype=np.float32)], axis=1)

    def refiner(self, solution: np.ndarray) -> ConvexRefiner:
        """Convert the solution (K + 1, C) for scaled features to a refiner."""
        weight = self.matrix @ solution[:-1]
        return ConvexRefiner(weight, solution[-1] - self.mean @ weight)

    def solution(self, refiner: ConvexRefiner) -> np.ndarray:
        """(K + 1, C) parameters for scaled features, the inverse of :meth:`refiner`."""
        bias = refiner.bias + self.mean @ refiner.weight
        return np.concatenate([np.linalg.solve(self.matrix, refiner.weight), bias[None]])


def _whitener(moved: np.ndarray, labels: np.ndarray, n_classes: int, share: float) -> np.ndarray:
    """(K, K) inverse square root of within-class covariance + ``share`` · mean variance · I."""
    within = moved - class_means(moved, labels, n_classes)[labels]
    covariance = within.T @ within / len(within)
    mean_variance = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    values, vectors = np.linalg.eigh(covariance + share * mean_variance * np.eye(len(covariance)))
    return (vectors / np.sqrt(values)).astype(np.float32)


def solve_path(
    x: np.ndarray,
    logits: np.ndarray,
    labels: np.ndarray,
    penalties: list[float],
    start: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Minimisers W (K, C) of ``mean CE(logits + x W, y) + penalty / 2 |W|²``, one per penalty.

    Each solution is the start of the next, so pass the penalties in descending order.

    The solver is scipy's L-BFGS, preconditioned such that the curvature is about 1 in all
    directions: features are rotated to orthogonal columns (SVD) and scaled by Böhning's bound on
    the curvature of softmax regression (Böhning 1992, "Multinomial logistic regression algorithm").
    It ends when an iteration saves less than 10^-6 of the objective, for large tasks 10^-4, which
    takes half of the iterations.

    Args:
        x: (N, K) features.
        logits: (N, C).
        labels: (N,) int64.
        penalties: numbers above 0.
        start: (K, C) initial W; None: 0.
    """
    left, sizes, right = svd(tensor(x))
    keep = sizes > 1e-5 * sizes[0]
    rotated, sizes, right = left[:, keep] * sizes[keep], sizes[keep], right[keep]
    offsets, cross_entropy = tensor(logits), CrossEntropy(tensor(labels))
    least_decrease = float(np.clip(_LEAST_DECREASE * logits.size, *_DECREASE_LIMITS))
    if start is None:
        start = np.zeros((x.shape[1], logits.shape[1]), dtype=np.float32)
    solution = right @ tensor(start)
    for penalty in penalties:
        scale = ((sizes**2 / (2 * len(x)) + penalty) ** -0.5)[:, None]
        scaled = _minimiser(
            rotated * scale.T,
            offsets,
            cross_entropy,
            penalty * scale**2,
            np.asarray(solution / scale, dtype=np.float64),
            least_decrease,
        )
        solution = tensor(scaled) * scale
        yield np.asarray(right.T @ solution)


def _minimiser(
    x: Tensor,
    logits: Tensor,
    cross_entropy: CrossEntropy,
    penalty: Tensor,
    start: np.ndarray,
    least_decrease: float,
) -> np.ndarray:
    """W (K, C) of the least ``mean CE(logits + x W, y) + sum(penalty W²) / 2``, by L-BFGS.

    Args:
        x: (N, K) features, for which the curvature is about 1.
        logits: (N, C).
        cross_entropy: of the labels y.
        penalty: (K, 1).
        start: (K, C) initial W.
        least_decrease: share of the objective below which an iteration is the last.
    """

    def objective(flat: np.ndarray, unit: float = 1.0) -> tuple[float, np.ndarray]:
        w = tensor((unit * flat).astype(np.float32).reshape(start.shape))
        value, slope = cross_entropy(logits + x @ w)
        penalized = penalty * w
        gradient = x.T @ slope + penalized
        value += float((penalized * w).sum()) / 2
        return value, unit * np.asarray(gradient, dtype=np.float64).ravel()

    begin = start.ravel()
    # L-BFGS-B's first step has length 1. In units of the gradient's length it is the gradient,
    # which is the best first step, as the curvature is about 1.
    unit = float(np.linalg.norm(objective(begin)[1])) or 1.0
    found = optimize.minimize(
        objective,
        begin / unit,
        args=(unit,),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "gtol": unit * _TOLERANCE, "ftol": least_decrease},
    )
    return (unit * found.x).astype(np.float32).reshape(start.shape)


class CrossEntropy:
    """Mean cross-entropy of logits, and its gradient.

    Args:
        labels: (N,) int64.
    """

    def __init__(self, labels: Tensor) -> None:
        self._labels, self._columns = labels, labels[:, None]
        self._minus_one = tensor(np.full((len(labels), 1), -1.0, np.float32))

    def __call__(self, logits: Tensor) -> tuple[float, Tensor]:
        """Loss of (N, C) float32 logits, and its gradient (N, C)."""
        logs = log_softmax(logits)
        loss = negative_log_likelihood(logs, self._labels, "mean")
        if tensors.torch is not None:
            slope = logs.exp().scatter_add_(1, self._columns, self._minus_one).div_(len(logs))
            return loss, slope
        slope = np.exp(logs)
        slope[np.arange(len(logs)), self._labels] -= 1
        return loss, slope / np.float32(len(logs))
