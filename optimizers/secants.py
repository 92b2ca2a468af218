"""What outputs have shown of a function: a linear model of them around a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_JITTER = 1e-6  # of the mean squared distance, so that points that repeat do no harm


@dataclass(frozen=True)
class LinearModel:
    """``outputs(center + basis t) ≈ outputs(center) + t @ jacobian``.

    The (r, n) Jacobian is a product, ``weights.T @ differences``: applying its factors a hundred
    times costs less than multiplying them once, where outputs are long.

    Attributes:
        basis: (d, r), orthonormal: the directions in which something is known.
        weights: (m, r) float32.
        differences: (m, n) float32.
    """

    basis: np.ndarray
    weights: np.ndarray
    differences: np.ndarray

    def change(self, t: np.ndarray) -> np.ndarray:
        """(n,) float32: t @ jacobian."""
        return (self.weights @ t.astype(np.float32)) @ self.differences

    def slope(self, gradient: np.ndarray) -> np.ndarray:
        """(r,) the derivative in t of what has the derivative (n,) in the outputs."""
        return (self.differences @ gradient) @ self.weights


class SecantMemory:
    """Evaluated points with their outputs, the latest of them; the oldest are forgotten.

    Args:
        dim: d.
        points: how many are kept at most.
        size: bytes that their outputs may take; at least 2 points are kept.
    """

    def __init__(self, dim: int, *, points: int, size: int) -> None:
        self._limit, self._size = points, size
        self.points = np.zeros((0, dim))
        self.outputs = np.zeros((0, 0), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.points)

    def add(self, points: np.ndarray, outputs: np.ndarray) -> None:
        """Remember points (k, d) with their outputs (k, n) float32."""
        if not len(self):
            self.outputs = np.zeros((0, outputs.shape[1]), dtype=np.float32)
        keep = max(2, min(self._limit, self._size // max(1, outputs[0].nbytes)))
        self.points = np.concatenate([self.points, points])[-keep:]
        self.outputs = np.concatenate([self.outputs, outputs])[-keep:]

    def model(self, center: np.ndarray, outputs: np.ndarray, reach: float) -> LinearModel | None:
        """The outputs' derivatives at a point, by Bayesian linear regression on the differences.

        Coordinates of the derivatives are independent beforehand; a difference to a point at the
        distance s errs by curvature like ``s² / reach`` in their units, so that far points tell
        little. One matrix serves all n outputs.

        Args:
            center: (d,).
            outputs: (n,) float32 at the center.
            reach: the distance at which curvature is as large as the linear part.

        Returns:
            None where nothing but the center is remembered.
        """
        moves = self.points - center
        squares = np.square(moves).sum(axis=1)
        apart = squares > 1e-12 * max(1.0, float(squares.max(initial=0.0)))
        if not apart.any():
            return None
        moves, squares = moves[apart], squares[apart]
        differences = self.outputs[apart] - outputs
        basis = _span(moves)
        known = moves @ basis
        noise = squares**2 / reach**2 + _JITTER * squares.mean()
        weights = np.linalg.solve(known @ known.T + np.diag(noise), known).astype(np.float32)
        return LinearModel(basis, weights, differences)


def _span(moves: np.ndarray) -> np.ndarray:
    """(d, r) orthonormal columns that span what ``moves`` (m, d) do."""
    count, dim = moves.shape
    if count >= dim:
        return np.eye(dim)
    basis, triangle = np.linalg.qr(moves.T)
    size = np.abs(np.diag(triangle))
    return basis[:, size > 1e-9 * size.max()]
