"""Linear discriminant analysis with a shrunk covariance (Friedman 1989)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

SHRINKAGES = (0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)


def class_means(x: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """(C, K) float64 means of (N, K) features over the images of each class; 0 without images."""
    means = np.zeros((n_classes, x.shape[1]))
    np.add.at(means, labels, x)
    return means / np.bincount(labels, minlength=n_classes).clip(1)[:, None]


def discriminants(
    x: np.ndarray, labels: np.ndarray, n_classes: int, shrinkages: Sequence[float] = SHRINKAGES
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Discriminants ``x W + b`` of Gaussian classes that share a covariance, equally likely.

    The covariance is ``(1 - s) S + s m I`` with the within-class covariance S, its mean variance m
    and the shrinkage s; s = 1 compares distances from the means.

    Args:
        x: (N, K) features.
        labels: (N,) int64, with every class among them.
        n_classes: C.
        shrinkages: numbers above 0, at most 1.

    Yields:
        W (K, C) and b (C,), float64, for each shrinkage.
    """
    centre = x.mean(axis=0, dtype=np.float64)
    moved = x - centre
    means = class_means(moved, labels, n_classes)
    # With one image a class, none differs from its mean: the total covariance takes its place.
    single = len(labels) == n_classes
    within = moved if single else moved - means[labels]
    freedom = max(len(labels) - (1 if single else n_classes), 1)
    _, sizes, axes = np.linalg.svd(within / np.sqrt(freedom), full_matrices=False)
    mean_variance = max(float(np.square(sizes).sum()) / x.shape[1], 1e-12)
    for shrinkage in shrinkages:
        least = shrinkage * mean_variance
        # The inverse is 1 / least outside the span of the images, and differs from it inside.
        inside = 1 / ((1 - shrinkage) * np.square(sizes) + least) - 1 / least
        weight = (means / least + (means @ axes.T * inside) @ axes).T
        yield weight, -(means * weight.T).sum(axis=1) / 2 - centre @ weight
