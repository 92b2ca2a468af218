"""The minimum of a quadratic function that is fitted to noisy losses."""

from __future__ import annotations

import numpy as np

_SHARE = 0.75  # of the evaluations, the last ones: the first lie far from where the search ended
_ROWS = 5000  # evaluations at most
_PER_COEFFICIENT = 1.6  # evaluations that a coefficient of the function needs
_MOST = 2000  # coefficients; more take too long
_REACH = 2.0  # standard deviations of the points, at which their weight has fallen to 0.6
_RIDGE = 1e-3  # penalty on second-order coefficients, in units of the points' spread


def fitted_minimum(points: np.ndarray, losses: np.ndarray, center: np.ndarray) -> np.ndarray | None:
    """The minimum within the spread of the points of a quadratic function fitted to their losses.

    It averages the noise of all losses, the mean of repeated evaluations only that of a few.
    The function has all second-order terms if there are enough points, else those of single
    variables.

    Args:
        points: (n, d) in the order of their evaluation.
        losses: (n,), NaN where the evaluation failed.
        center: (d,) where the search ended: points weigh less the farther from it they are.

    Returns:
        (d,), or None if there are too few points.
    """
    good = np.isfinite(losses)
    points, losses = points[good], losses[good]
    first = len(points) - min(_ROWS, int(_SHARE * len(points)))
    points, losses = points[first:], losses[first:]
    n, d = points.shape
    most = min(_MOST, n / _PER_COEFFICIENT)
    full = (d + 1) * (d + 2) // 2 <= most
    if not full and 2 * d + 1 > most:
        return None
    spread, axes = points.var(axis=0), np.eye(d)
    if full:
        spread, axes = np.linalg.eigh(np.cov(points.T).reshape(d, d))
    scale = np.sqrt(np.maximum(spread, 1e-12 * spread.max()))
    if not scale.all():
        return None  # all points are the same
    u = (points - center) @ axes / scale
    root = np.exp(-(u**2).sum(axis=1) / (4 * d * _REACH**2))  # of the weights
    i, j = np.triu_indices(d) if full else (np.arange(d), np.arange(d))
    terms = np.concatenate([np.ones((n, 1)), u, u[:, i] * u[:, j]], axis=1) * root[:, None]
    target = (losses - np.average(losses, weights=root**2)) * root
    penalty = np.concatenate([np.zeros(1 + d), np.full(len(i), _RIDGE * n)])
    try:
        found = np.linalg.solve(terms.T @ terms + np.diag(penalty), terms.T @ target)
    except np.linalg.LinAlgError:
        return None
    hessian = np.zeros((d, d))
    hessian[i, j] = found[1 + d :]
    minimum = center + axes @ (scale * _in_ball(found[1 : 1 + d], hessian + hessian.T, np.sqrt(d)))
    return minimum if np.isfinite(minimum).all() else None


def _in_ball(gradient: np.ndarray, hessian: np.ndarray, radius: float) -> np.ndarray:
    """Where g·u + u·H·u / 2 is least in a ball around the origin."""
    curvatures, axes = np.linalg.eigh(hessian)
    slopes = axes.T @ gradient

    def step(shift: float) -> np.ndarray:
        return np.asarray(-slopes / (curvatures + shift))

    low = max(0.0, 1e-9 - float(curvatures.min()))
    if np.linalg.norm(step(low)) > radius:
        high = low + float(np.linalg.norm(slopes)) / radius
        for _ in range(100):
            middle = (low + high) / 2
            if np.linalg.norm(step(middle)) > radius:
                low = middle
            else:
                high = middle
        low = high
    return np.asarray(axes @ step(low))
