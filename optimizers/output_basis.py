"""Outputs in few numbers, where they lie in a space of few dimensions."""

from __future__ import annotations

import numpy as np

_LOST = 1e-6  # share of the squared changes that may lie outside the space
_LARGEST = 1e38  # squared changes, as float32 holds no more


class OutputBasis:
    """A basis of the space in which outputs change, if that has far fewer dimensions than they.

    A dual encoder's logits of N images are products with the N image features, so that whatever the
    texts, their changes lie in a space of as many dimensions as a feature has. Models that are told
    apart from it by their first answers are left as they are.

    Attributes:
        origin: (B, n) float32, outputs from which changes are taken.
        basis: (r, n) float32, orthonormal; None: changes are taken as they are.
    """

    def __init__(self, origin: np.ndarray, basis: np.ndarray | None = None) -> None:
        self.origin, self.basis = origin, basis

    @classmethod
    def of(cls, outputs: np.ndarray) -> OutputBasis:
        """Worked out on the first k outputs (k, B, n); they must be twice as many as n to tell."""
        span, n = cls(outputs[0].copy()), outputs.shape[2]  # a view would keep them all
        rows = (outputs[1:] - outputs[0]).reshape(-1, n)
        whole = _energy(rows)
        if len(rows) >= 2 * n and whole < _LARGEST:
            basis = _leading(rows, whole)
            if len(basis) <= n / 2:
                span.basis = basis
        return span

    def include(self, outputs: np.ndarray) -> np.ndarray:
        """(k, B, r) of outputs (k, B, n); the space grows where they lie outside it."""
        inside = self.coordinates(outputs)
        if self.basis is None:
            return inside
        changes = outputs - self.origin
        whole = _energy(changes)
        if whole - _energy(inside) <= 2 * _LOST * whole or whole >= _LARGEST:
            return inside
        outside = (changes - inside @ self.basis).reshape(-1, changes.shape[-1])
        grown = np.concatenate([self.basis, _leading(outside, whole)])
        # Orthogonal to what was there, but for rounding; its own rows stay as they are.
        new = np.linalg.qr(grown.T)[0].T[len(self.basis) :]
        self.basis = np.concatenate([self.basis, new])
        return self.coordinates(outputs)

    def coordinates(self, outputs: np.ndarray) -> np.ndarray:
        """(..., r) of outputs (..., B, n)."""
        changes = outputs - self.origin
        return changes if self.basis is None else changes @ self.basis.T

    def outputs(self, coordinates: np.ndarray) -> np.ndarray:
        """Changes (..., n) of coordinates (..., r)."""
        return coordinates if self.basis is None else coordinates @ self.basis

    def slope(self, gradient: np.ndarray) -> np.ndarray:
        """(..., r) the derivative in coordinates of what has the derivative (..., n) in outputs."""
        return gradient if self.basis is None else gradient @ self.basis.T


def _energy(changes: np.ndarray) -> float:
    return float(np.square(changes).sum(dtype=np.float64))


def _leading(rows: np.ndarray, whole: float) -> np.ndarray:
    """(r, n) leading directions of (k, n) rows; what lies outside them has 1e-6 of ``whole``."""
    values, vectors = np.linalg.eigh(rows.T @ rows)
    outside = np.cumsum(values.clip(0))  # of the directions up to here, the weakest first
    return np.ascontiguousarray(vectors[:, outside > _LOST * whole].T[::-1])
