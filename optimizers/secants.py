"""Linear models of outputs around a point, fitted to remembered evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import lapack

from craft_zoo.optimizers.output_basis import OutputBasis

# Diagonal terms against singular kernels: relative to the mean squared distance, and absolute.
_JITTER, _TINY = 1e-6, 1e-12
_RIDGE = 1e-4  # of the basis of the moves, above the rounding errors of a float32 kernel
# Number of changes from which the directions of more outputs than that are found, and least number
# of latest moves that these are of.
_MOST_ROWS, _FEWEST_MOVES = 1024, 20
_LEAST = 1e-3  # variance of a step's changes in such a direction, relative to the noise
_MOST_BYTES = 2**27  # of a Jacobian in all variables; larger ones are kept in the moves' span


@dataclass(frozen=True)
class LinearModel:
    """``outputs(center + t) ≈ at + t @ jacobian @ basis``, in each of B blocks.

    Steps t have D = d coordinates, the variables; with ``axes``, D = m coordinates in the span of
    the moves, in which all steps of interest lie.

    Attributes:
        moves: (B, m, d) float32, differences of the m remembered points to the center.
        jacobian: (B, D, r) float32, derivatives of the outputs' coordinates in ``span``; its
            columns lie in the span of the moves.
        at: (B, n) float32, the outputs at the center.
        span: the basis to which the outputs' coordinates refer.
        axes: (B, m, d) float32, orthonormal basis of the moves' span; None: D = d.
    """

    moves: np.ndarray
    jacobian: np.ndarray
    at: np.ndarray
    span: OutputBasis
    axes: np.ndarray | None = None

    def change(self, t: np.ndarray) -> np.ndarray:
        """(B, n) float32, predicted change of the outputs for a step t (B, D)."""
        return self.span.outputs((t.astype(np.float32)[:, None] @ self.jacobian)[:, 0])

    def slope(self, gradient: np.ndarray) -> np.ndarray:
        """(B, D) gradient in t of a function with gradient (B, n) in the outputs (chain rule)."""
        return (self.jacobian @ self.span.slope(gradient)[:, :, None])[:, :, 0]

    def step(self, variables: np.ndarray) -> np.ndarray:
        """(B, D) coordinates of the projection of (B, d) onto the span of the moves."""
        if self.axes is None:
            return self.project(variables.astype(np.float32)[:, None])[:, 0]
        return (self.axes @ variables.astype(np.float32)[:, :, None])[:, :, 0]

    def variables(self, t: np.ndarray) -> np.ndarray:
        """(B, d) the step with coordinates t (B, D)."""
        return t if self.axes is None else (t.astype(np.float32)[:, None] @ self.axes)[:, 0]

    def project(self, directions: np.ndarray) -> np.ndarray:
        """(B, k, d) projection of directions (B, k, d) onto the span of the moves."""
        if self.axes is not None:
            return (directions @ self.axes.transpose(0, 2, 1)) @ self.axes
        count, dim = self.moves.shape[1:]
        if count >= dim:
            return directions
        products = self.moves @ directions.transpose(0, 2, 1)
        shares = np.stack([_solve(*each) for each in zip(self._kernel, products, strict=True)])
        return (self.moves.transpose(0, 2, 1) @ shares).transpose(0, 2, 1)

    @cached_property
    def _kernel(self) -> np.ndarray:
        """(B, m, m) inner products of the moves, regularized."""
        kernel = self.moves @ self.moves.transpose(0, 2, 1)
        diagonal = np.arange(kernel.shape[1])
        mean = kernel[:, diagonal, diagonal].mean(axis=1, keepdims=True)
        kernel[:, diagonal, diagonal] += _JITTER * mean + _TINY
        return kernel


@dataclass(frozen=True)
class SmoothedModel:
    """What noisy evaluations tell about the outputs around a point.

    Attributes:
        model: linear model around the point; its ``at`` are the outputs expected there.
        latest: (k, B, n) float32, outputs expected at the k latest points.
        distance: length of a step that changes the outputs by the noise's standard deviation, in
            the mean of squares.
    """

    model: LinearModel
    latest: np.ndarray
    distance: float


class SecantMemory:
    """The latest evaluated points with their outputs (first in, first out).

    Args:
        points: maximum number of points.
        size: maximum bytes of points and outputs; 2 points are kept even if they are larger.
    """

    def __init__(self, *, points: int, size: int) -> None:
        self._limit, self._size = points, size
        self.points = np.zeros((0, 0, 0), dtype=np.float32)
        self.outputs = np.zeros((0, 0, 0), dtype=np.float32)
        self.span: OutputBasis | None = None
        self._apart = np.zeros((0, 0, 0), dtype=np.float32)  # (B, k, k) squared distances

    def __len__(self) -> int:
        return len(self.points)

    def add(self, points: np.ndarray, outputs: np.ndarray) -> None:
        """Add k points (k, B, d) with their outputs (k, B, n) float32."""
        if self.span is None:
            self.span = OutputBasis.of(outputs)
        points, outputs = points.astype(np.float32), self.span.include(outputs)
        if len(self):
            points, before = np.concatenate([self.points, points]), self.outputs
            if grown := outputs.shape[2] - before.shape[2]:
                before = np.pad(before, ((0, 0), (0, 0), (0, grown)))
            outputs = np.concatenate([before, outputs])
        keep = max(2, min(self._limit, self._size // (points[0].nbytes + outputs[0].nbytes)))
        forgotten = max(0, len(points) - keep)
        self._apart = self._apart[:, forgotten:, forgotten:]
        self.points, self.outputs = points[-keep:], outputs[-keep:]

    def arrays(self) -> dict[str, np.ndarray]:
        """The contents as arrays for :meth:`restore`."""
        if self.span is None:
            return {}
        basis = {} if self.span.basis is None else {"basis": self.span.basis}
        kept = {"points": self.points, "outputs": self.outputs, "apart": self._apart}
        return {**kept, "origin": self.span.origin, **basis}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace the contents by those of :meth:`arrays`."""
        if "points" in arrays:
            self.points, self.outputs = np.array(arrays["points"]), np.array(arrays["outputs"])
            self.span = OutputBasis(np.array(arrays["origin"]), arrays.get("basis"))
            self._apart = np.array(arrays.get("apart", self._apart))

    def model(self, center: np.ndarray, outputs: np.ndarray, reach: float) -> LinearModel | None:
        """The outputs' derivatives at a point, by Bayesian linear regression on differences.

        The prior of the derivatives is an isotropic Gaussian. Curvature is modelled as noise: at
        distance s its standard deviation is ``s² / reach`` times the prior's, so that far points
        have little weight. All n outputs of a block share one kernel matrix.

        Where m < d and the Jacobian would take more than 128 MB, it is kept for steps in the span
        of the moves.

        Args:
            center: (B, d).
            outputs: (B, n) float32 at the center.
            reach: distance at which curvature is as large as the linear part.

        Returns:
            The model; None if no point other than the center is remembered.
        """
        differences = self._differences(center, outputs)
        if differences is None:
            return None
        assert self.span is not None, "something is remembered"
        moves, squares, changes = differences
        curvature = _curvature(squares, reach)
        ridge = _RIDGE * squares.mean(axis=1) + _TINY
        n_blocks, n_moves, dim = moves.shape
        n_outputs = changes.shape[2]
        in_span = n_moves < dim and 4 * n_blocks * dim * n_outputs > _MOST_BYTES
        jacobian = np.empty((n_blocks, n_moves if in_span else dim, n_outputs), dtype=np.float32)
        axes = np.empty_like(moves) if in_span else None
        for b, (move, change) in enumerate(zip(moves, changes, strict=True)):
            kernel = self._kernel(squares, b)
            noisy = kernel + np.diag(curvature[b])
            if axes is not None:
                root = _root(kernel, ridge[b])
                axes[b] = _solve_lower(root, move)
                jacobian[b] = _solve_lower(root, kernel @ _solve(noisy, change))
            elif n_outputs > dim:  # same product; solves for fewer columns
                np.matmul(_solve(noisy, move).T, change, out=jacobian[b])
            else:
                np.matmul(move.T, _solve(noisy, change), out=jacobian[b])
        return LinearModel(moves, jacobian, outputs, self.span, axes)

    def smoothed(
        self, center: np.ndarray, outputs: np.ndarray, reach: float, noise: float, latest: int
    ) -> SmoothedModel | None:
        """The model of :meth:`model` where outputs have independent normal errors.

        Errors differ between outputs, while steps change the outputs (of many images) together, so
        that their changes lie near a subspace of few dimensions: the principal components of all
        changes above the largest eigenvalue of noise alone (Marchenko & Pastur 1967). The changes
        are projected onto them, each component by the share of its variance that is no noise, and
        the regression has the variance of the errors, which the differences to the center share.

        Args:
            center: (B, d).
            outputs: (B, n) float32, those of an evaluation at the center.
            reach: see :meth:`model`.
            noise: variance of an output.
            latest: k, the number of points whose outputs are to be estimated.

        Returns:
            The model; None if no point other than the center is remembered.
        """
        differences = self._differences(center, outputs)
        if differences is None:
            return None
        assert self.span is not None, "something is remembered"
        moves, squares, changes = differences
        others = squares > _TINY
        weights = others / (1 + squares / reach**2)  # changes of long steps are not linear
        components, signal, level = _principal(changes, weights, moves, noise)
        ratio = np.float32(noise / signal.mean())
        shrunk = components.T * (signal / (signal + level)).astype(np.float32)
        curvature = _curvature(squares, reach)
        # Outside the components, outputs stay the same: their mean has the least error.
        rest = np.einsum("bm,bmn->bn", weights, changes) / (1 + weights.sum(axis=1, keepdims=True))
        rest -= rest @ components.T @ components
        span = components if self.span.basis is None else components @ self.span.basis
        jacobian = np.empty((*moves.shape[::2], len(components)), dtype=np.float32)
        expected = np.empty((1 + latest, len(moves), len(components)), dtype=np.float32)
        for b, (move, change) in enumerate(zip(moves, changes, strict=True)):
            kernel = self._kernel(squares, b) + np.diag(curvature[b])
            other = others[b].astype(np.float32)
            noisy = kernel + ratio * (np.diag(other) + np.outer(other, other))
            shares = _solve(noisy, change @ shrunk)
            jacobian[b] = move.T @ shares
            expected[0, b] = ratio * (other @ shares)  # minus the error at the center
            expected[1:, b] = expected[0, b] + kernel[-latest:] @ shares
        near = outputs + self.span.outputs(rest.astype(np.float32)) + expected @ span
        model = LinearModel(moves, jacobian, near[0], OutputBasis(self.span.origin, span))
        strength = signal.sum() / changes.shape[2]  # an output's variance in a step of length 1
        return SmoothedModel(model, near[1:], math.sqrt(noise / strength))

    def find(self, point: np.ndarray) -> np.ndarray | None:
        """(B, n) outputs of the latest remembered evaluation of a point (B, d); None: of none."""
        if self.span is None:
            return None
        same = np.flatnonzero((self.points == point.astype(np.float32)).all(axis=(1, 2)))
        if not len(same):
            return None
        return self.span.origin + self.span.outputs(self.outputs[same[-1]])

    def _differences(
        self, center: np.ndarray, outputs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Differences of what is remembered to an evaluation at the center.

        Returns:
            Those of the points (B, m, d), their squared lengths (B, m), and those of the outputs'
            coordinates (B, m, r); None if no point other than the center is remembered.
        """
        center = center.astype(np.float32)[:, None]
        moves = np.subtract(self.points.transpose(1, 0, 2), center, order="C")
        squares = np.square(moves).sum(axis=2)
        if self.span is None or not (squares > _TINY).any():
            return None
        self._measure(moves, squares)
        changes = (self.outputs - self.span.coordinates(outputs)).transpose(1, 0, 2)
        return moves, squares, changes

    def _kernel(self, squares: np.ndarray, block: int) -> np.ndarray:
        """(m, m) inner products of a block's moves."""
        kernel = squares[block] - self._apart[block]
        kernel += squares[block][:, None]
        kernel /= 2
        return kernel

    def _measure(self, moves: np.ndarray, squares: np.ndarray) -> None:
        """Complete the squared distances between points by those of the latest.

        They don't depend on the center, so that each is computed once.

        Args:
            moves: (B, k, d) differences to a point near the latest.
            squares: (B, k) their squared lengths.
        """
        known = self._apart.shape[1]
        if known == len(self):
            return
        apart = np.empty((len(moves), len(self), len(self)), dtype=np.float32)
        if known:
            apart[:, :known, :known] = self._apart
        latest = squares[:, known:, None] + squares[:, None]
        latest -= 2 * (moves[:, known:] @ moves.transpose(0, 2, 1))
        apart[:, known:], apart[:, :known, known:] = latest, latest[:, :, :known].transpose(0, 2, 1)
        self._apart = apart


def _curvature(squares: np.ndarray, reach: float) -> np.ndarray:
    """(B, m) variances of what is not linear in moves of squared lengths (B, m)."""
    mean = squares.mean(axis=1, keepdims=True)
    return squares**2 / reach**2 + _JITTER * mean + _TINY


def _principal(
    changes: np.ndarray, weights: np.ndarray, moves: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Directions in which outputs change by more than noise.

    Args:
        changes: (B, m, n) changes of the outputs in moves.
        weights: (B, m) weights of the moves, 0 for those of no length.
        moves: (B, m, d).
        noise: variance of an output.

    Returns:
        The directions, (r, n) float32 with r ≥ 1; the variance of the changes in each in a step of
        length 1, (r,); and that of the noise.
    """
    if changes.shape[2] > _MOST_ROWS:
        latest = slice(-max(_FEWEST_MOVES, _MOST_ROWS // len(changes)), None)
        changes, weights, moves = changes[:, latest], weights[:, latest], moves[:, latest]
    # All changes have the error of the center's outputs, which their mean takes away.
    shares = (weights / weights.sum(axis=1, keepdims=True))[:, None]
    lengths = np.square(moves - shares @ moves).sum(axis=2)
    total = float((weights * lengths).sum()) + _TINY
    rows = (changes - shares @ changes) * np.sqrt(weights / total)[:, :, None]
    rows = rows.reshape(-1, changes.shape[2])
    _, values, directions = np.linalg.svd(rows, full_matrices=False)
    variances = np.square(values, dtype=np.float64)
    level = noise * float(weights.sum()) / total
    edge = level * (1 + math.sqrt(rows.shape[1] / np.count_nonzero(weights))) ** 2
    kept = max(1, np.count_nonzero(variances > edge))
    return directions[:kept], np.maximum(variances[:kept] - level, _LEAST * level), level


def _root(kernel: np.ndarray, ridge: np.float32) -> np.ndarray:
    """Lower triangular factor of a kernel with a ridge on its diagonal."""
    identity = np.eye(len(kernel), dtype=np.float32)
    try:
        return np.linalg.cholesky(kernel + ridge * identity)
    except np.linalg.LinAlgError:  # the points' distances differ by more than float32 can hold
        return np.linalg.cholesky(kernel + (ridge - 2 * np.linalg.eigvalsh(kernel)[0]) * identity)


def _solve(kernel: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solution of a symmetric positive definite system."""
    root, failed = lapack.spotrf(kernel.T, lower=1, clean=0)
    if failed:  # by rounding errors
        return np.linalg.solve(kernel, right)
    return lapack.spotrs(root, right, lower=1)[0]


def _solve_lower(root: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solution of a lower triangular system."""
    return lapack.strtrs(root.T, right, lower=0, trans=1)[0]
