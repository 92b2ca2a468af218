"""What outputs have shown of a function: a linear model of them around a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Of the mean squared distance, so that points that repeat do no harm; and where all do.
_JITTER, _TINY = 1e-6, 1e-12


@dataclass(frozen=True)
class LinearModel:
    """``outputs(center + t) ≈ outputs(center) + t @ jacobian``, in each of B blocks.

    The (d, n) Jacobian of a block is a product, ``weights.T @ (outputs - at)``: applying its
    factors a hundred times costs less than multiplying them once, where outputs are long.

    Attributes:
        moves: (B, m, d) float32, from the center to where something is known.
        weights: (B, m, d) float32, in the span of the moves.
        outputs: (B, m, n) float32, after the moves.
        at: (B, n) float32, the outputs at the center.
    """

    moves: np.ndarray
    weights: np.ndarray
    outputs: np.ndarray
    at: np.ndarray

    def change(self, t: np.ndarray) -> np.ndarray:
        """(B, n) float32: t @ jacobian for t (B, d)."""
        shares = self.weights @ t.astype(np.float32)[:, :, None]
        changed = shares.transpose(0, 2, 1) @ self.outputs
        return changed[:, 0] - shares.sum(axis=1) * self.at

    def slope(self, gradient: np.ndarray) -> np.ndarray:
        """(B, d) the derivative in t of what has the derivative (B, n) in the outputs."""
        shares = self.outputs @ gradient[:, :, None]
        shares -= (self.at * gradient).sum(axis=1)[:, None, None]
        return (shares.transpose(0, 2, 1) @ self.weights)[:, 0]

    def known(self, directions: np.ndarray) -> np.ndarray:
        """(B, k, d) the part of directions (B, k, d) that lies in the span of the moves."""
        count, dim = self.moves.shape[1:]
        if count >= dim:
            return directions
        turned = self.moves.transpose(0, 2, 1)
        kernel = self.moves @ turned
        diagonal = np.arange(count)
        mean = kernel[:, diagonal, diagonal].mean(axis=1, keepdims=True)
        kernel[:, diagonal, diagonal] += _JITTER * mean + _TINY
        shares = np.linalg.solve(kernel, self.moves @ directions.transpose(0, 2, 1))
        return (turned @ shares).transpose(0, 2, 1)


class SecantMemory:
    """Evaluated points with their outputs, the latest of them; the oldest are forgotten.

    Args:
        points: how many are kept at most.
        size: bytes that they and their outputs may take; at least 2 are kept.
    """

    def __init__(self, *, points: int, size: int) -> None:
        self._limit, self._size = points, size
        self.points = np.zeros((0, 0, 0), dtype=np.float32)
        self.outputs = np.zeros((0, 0, 0), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.points)

    def limit(self, points: int) -> None:
        """Keep no more than so many points from now on, but at least 2."""
        self._limit = min(self._limit, max(2, points))

    def add(self, points: np.ndarray, outputs: np.ndarray) -> None:
        """Remember k points (k, B, d) with their outputs (k, B, n) float32."""
        points = points.astype(np.float32)
        if len(self):
            points = np.concatenate([self.points, points])
            outputs = np.concatenate([self.outputs, outputs])
        keep = max(2, min(self._limit, self._size // (points[0].nbytes + outputs[0].nbytes)))
        self.points, self.outputs = points[-keep:], outputs[-keep:]

    def model(self, center: np.ndarray, outputs: np.ndarray, reach: float) -> LinearModel | None:
        """The outputs' derivatives at a point, by Bayesian linear regression on the differences.

        Coordinates of the derivatives are independent beforehand; a difference to a point at the
        distance s errs by curvature like ``s² / reach`` in their units, so that far points tell
        little. One matrix a block serves all of its n outputs.

        Args:
            center: (B, d).
            outputs: (B, n) float32 at the center.
            reach: the distance at which curvature is as large as the linear part.

        Returns:
            None where nothing but the center is remembered.
        """
        moves = np.ascontiguousarray((self.points - center.astype(np.float32)).transpose(1, 0, 2))
        squares = np.square(moves).sum(axis=2)
        if not (squares > _TINY).any():
            return None
        noise = squares**2 / reach**2 + _JITTER * squares.mean(axis=1, keepdims=True) + _TINY
        kernel = moves @ moves.transpose(0, 2, 1)
        diagonal = np.arange(moves.shape[1])
        kernel[:, diagonal, diagonal] += noise
        weights = np.linalg.solve(kernel, moves)
        return LinearModel(moves, weights, self.outputs.transpose(1, 0, 2), outputs)
