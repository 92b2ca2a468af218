"""Low-rank compression of outputs."""

from __future__ import annotations

import numpy as np

_LOST = 1e-6  # share of the squared changes that may lie outside the basis
_LARGEST = 1e38  # limit of the squared changes, since float32 overflows above


class OutputBasis:
    """A basis of the subspace in which outputs change, if its dimension is far below n.

    A dual encoder's logits of N images are products with the N image features. So for any texts,
    changes of the logits lie in a subspace with at most as many dimensions as a feature. If the
    first outputs of a model do not lie in such a subspace, its outputs are not compressed.

    Attributes:
        origin: (B, n) float32, outputs from which changes are measured.
        basis: (r, n) float32, orthonormal; None: no compression.
    """

    def __init__(self, origin: np.ndarray, basis: np.ndarray | None = None) -> None:
        self.origin, self.basis = origin, basis

    @classmethod
    def of(cls, outputs: np.ndarray) -> OutputBasis:
        """The basis of the first k outputs (k, B, n); none if there are fewer than 2 n changes."""
        span, n = cls(outputs[0].copy()), outputs.shape[2]  # a view would keep all outputs alive
        rows = (outputs[1:] - outputs[0]).reshape(-1, n)
        whole = _energy(rows)
        if len(rows) >= 2 * n and whole < _LARGEST:
            basis = _leading(rows, whole)
            if len(basis) <= n / 2:
                span.basis = basis
        return span

    def include(self, outputs: np.ndarray) -> np.ndarray:
        """(k, B, r) coordinates of outputs (k, B, n); extends the basis if necessary."""
        inside = self.coordinates(outputs)
        if self.basis is None:
            return inside
        changes = outputs - self.origin
        whole = _energy(changes)
        if whole - _energy(inside) <= 2 * _LOST * whole or whole >= _LARGEST:
            return inside
        outside = (changes - inside @ self.basis).reshape(-1, changes.shape[-1])
        grown = np.concatenate([self.basis, _leading(outside, whole)])
        # QR orthogonalises the new rows against rounding errors; existing rows do not change.
        new = np.linalg.qr(grown.T)[0].T[len(self.basis) :]
        self.basis = np.concatenate([self.basis, new])
        return self.coordinates(outputs)

    def coordinates(self, outputs: np.ndarray) -> np.ndarray:
        """(..., B, r) coordinates of the changes of outputs (..., B, n)."""
        changes = outputs - self.origin
        return changes if self.basis is None else changes @ self.basis.T

    def outputs(self, coordinates: np.ndarray) -> np.ndarray:
        """(..., n) changes of the outputs with coordinates (..., r)."""
        return coordinates if self.basis is None else coordinates @ self.basis

    def slope(self, gradient: np.ndarray) -> np.ndarray:
        """(..., r) gradient in coordinates of a function with gradient (..., n) in outputs."""
        return gradient if self.basis is None else gradient @ self.basis.T


def _energy(changes: np.ndarray) -> float:
    return float(np.square(changes).sum(dtype=np.float64))


def _leading(rows: np.ndarray, whole: float) -> np.ndarray:
    """(r, n) principal directions of (k, n) rows; the rest has at most 1e-6 of ``whole``."""
    values, vectors = np.linalg.eigh(rows.T @ rows)
    outside = np.cumsum(values.clip(0))  # squared lengths, summed from the weakest direction
    return np.ascontiguousarray(vectors[:, outside > _LOST * whole].T[::-1])
