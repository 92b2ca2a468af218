"""Gauss-Newton optimizer that learns from outputs (logits) instead of losses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import chi2

from craft_zoo.optimizers.base import Optimizer, Outputs
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.option import check_above_zero, check_at_least
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.secants import LinearModel, SecantMemory, SmoothedModel
from craft_zoo.optimizers.space import Space
from craft_zoo.optimizers.trust_region import BallMinimizer

_RADII = (0.5, 1.0, 2.0)  # factors of the trust-region radius, all tried in each generation
_ENOUGH = 0.25  # a step succeeds if it brings this share of the predicted decrease
_SMALLEST, _LARGEST = 0.02, 3.0  # limits of the radius in units of √d, d variables per block
_HUGE = 1e18  # squares of larger outputs would overflow float32
_PATIENCE = 5  # generations without progress before the center is evaluated again
_USUAL = 0.8  # share of the outputs from which the noise is estimated
# Variances below these shares of the outputs' mean squared change, and square, are no noise.
_NEGLIGIBLE, _ROUNDING = 1e-3, 1e-8


@register("logit-gn")
class LogitGN(Optimizer):
    """Gauss-Newton on outputs (ours): minimises the loss of a linear model of the outputs.

    Outputs (logits) are closer to linear in the candidate than their loss is. A linear model of
    them around the best point so far (the center) is fitted to the remembered evaluations. The loss
    of the predicted outputs is convex and is minimised without evaluations, in balls of three
    radii: the minimisers are the first candidates. The other candidates explore around the middle
    minimiser, in unexplored directions if possible. The radius adapts to the ratio of actual to
    predicted decrease.

    If evaluations of the same point differ (the center, which is evaluated again after five
    generations without progress, or a point of :meth:`add` between two generations), outputs are
    noisy: outputs expected from all evaluations take the place of those of one, and steps are at
    least so long that they change outputs by as much as the noise does.

    In a space with several blocks, each block has its own linear model and its own ball, so
    that one evaluation explores a direction in every block.

    The optimizer needs outputs and a convex :attr:`Optimizer.output_loss`. It ignores the losses
    passed to :meth:`tell`, except for those that mark a failed evaluation.

    Args:
        popsize: candidates a generation; with 1, minimisers and exploration alternate.
        radius: radius of the first trust region, in units of √d, d variables per block.
        reach: distance at which curvature is as large as the linear part, in units of √d.
        shrink: weight of the L2 penalty: what a distance of √d from the start adds to the loss.
        memory: number of evaluations that are remembered.
        memory_mb: megabytes that the remembered evaluations and their outputs may take.
    """

    learns_from_outputs = True
    needs_output_loss = True
    uses_blocks = True
    snapshots = True

    def __init__(
        self,
        space: Space | int,
        *,
        popsize: int = 20,
        radius: float = 0.2,
        reach: float = 0.35,
        shrink: float = 0.1,
        memory: int = 600,
        memory_mb: int = 512,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        check_at_least(self.name, 1, popsize=popsize, memory_mb=memory_mb)
        check_at_least(self.name, 2, memory=memory)
        check_above_zero(self.name, radius=radius, reach=reach)
        if not 0 <= shrink < np.inf:
            raise OptimizerError(
                f"option 'shrink' of {self.name!r} must be a number of at least 0, not {shrink}"
            )
        self.popsize = popsize
        self._radius, self._reach = radius, reach  # in units of √d
        self._l2_penalty = 2 * shrink / self.dim
        self._memory = SecantMemory(points=memory, size=memory_mb * 2**20)
        self._center = np.zeros(self.dim)
        self._center_outputs: np.ndarray | None = None  # (B, n)
        self._steps: list[tuple[float, float]] = []  # radius, predicted decrease of each step asked
        self._noise: list[float] = []  # variances of an output, each from a point evaluated twice
        self._explored_last = False  # popsize 1: the last generation explored
        self._rejected = 0
        self._shape: tuple[int, ...] = ()
        self._before_ask: dict[str, Any] = {}  # own state before the last ask

    def recommend(self) -> np.ndarray:
        """The evaluated point with the least current ``output_loss``."""
        return self._center.copy()

    def _ask(self) -> np.ndarray:
        self._before_ask = self._own_state()
        self._steps = []
        if self._center_outputs is None:
            exploring = self._exploration_points(self._center, None, self.popsize - 1)
            return np.concatenate([self._center[None], exploring])
        if self._rejected >= _PATIENCE:
            again, self._rejected = [self._center], 0
        else:
            again = []
        steps, model = self._step_candidates()
        middle = steps[len(steps) // 2] if steps else self._center
        if self.popsize == 1:
            self._explored_last = not self._explored_last
            if self._explored_last or not steps:
                self._steps = []
                return np.stack(again) if again else self._exploration_points(middle, model, 1)
            self._steps = [self._steps[len(steps) // 2]]
            return middle[None]
        n_steps = min(len(steps), (self.popsize + 1) // 2)
        if n_steps < len(steps):  # prefer the middle radius, then the larger one
            order = [1, 2, 0][:n_steps]
            steps, self._steps = [steps[i] for i in order], [self._steps[i] for i in order]
        n_exploring = max(0, self.popsize - n_steps - len(again))
        rows = [*steps, *again, *self._exploration_points(middle, model, n_exploring)]
        return np.stack(rows[: self.popsize])

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        assert outputs is not None, "checked by tell"
        flat = self._flat(outputs)
        good = ~self.failed & (np.abs(flat) < _HUGE).all(axis=(1, 2))  # False for NaN too
        values = np.full(len(flat), np.inf)
        for row in np.flatnonzero(good):
            values[row] = self._loss(flat[row])
        good &= np.isfinite(values)
        values[~good] = np.inf  # an output_loss may return NaN or -inf
        if not good.any():
            return
        self._memory.add(candidates[good].reshape(-1, *self._in_blocks.shape), flat[good])
        if self._center_outputs is None:
            best = int(values.argmin())
            self._center, self._center_outputs = candidates[best].copy(), flat[best]
            return
        again = np.flatnonzero(good & (candidates == self._center).all(axis=1))
        if len(again):  # with noise, the center's old loss may be too low
            self._compare_outputs(self._center_outputs, flat[again[0]])
            self._center_outputs = flat[again[0]]
        smoothed = self._smoothed(latest=int(good.sum()))
        if smoothed is None:
            present = self._loss(self._center_outputs)
        else:
            present = self._loss(smoothed.model.at)
            values[good] = [self._loss(each) for each in smoothed.latest]
        self._adapt_radius(values[: len(self._steps)], present)
        if smoothed is not None:
            self._radius = max(self._radius, min(self._reach, smoothed.distance / self._unit))
        best = int(values.argmin())
        if values[best] < present:
            self._center, self._center_outputs = candidates[best].copy(), flat[best]
            self._rejected = 0
        else:
            self._rejected += 1

    def _tell_added(self, points: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        if self._awaited.generation is not None:
            return  # a restored search asks again, as it did before it knew of these points
        for point, each in zip(points, self._flat(outputs), strict=True):
            before = self._memory.find(point.reshape(self._in_blocks.shape))
            if before is not None:
                self._compare_outputs(before, each)

    def _compare_outputs(self, before: np.ndarray, after: np.ndarray) -> None:
        """Estimate the noise from two outputs (B, n) of one point.

        Of the n rows, the fifth that differs most is left out: some outputs may be wrong.
        """
        assert self._memory.span is not None, "a point was evaluated"
        squares = np.sort(np.square(after - before).sum(axis=0))
        kept = squares[: math.ceil(_USUAL * len(squares))]
        # Of normal errors, the sum of these squares has this share of its expectation.
        share = chi2.cdf(chi2.ppf(_USUAL, len(before)), len(before) + 2)
        noise = float(kept.sum() / share) / (2 * after.size)
        spread = self._memory.outputs - self._memory.span.coordinates(before)
        least = float(np.square(spread).sum()) / (len(self._memory) * after.size)
        least = _NEGLIGIBLE * least + _ROUNDING * float(np.square(before).mean())
        self._noise.append(noise if noise > least else 0.0)

    def _smoothed(self, latest: int) -> SmoothedModel | None:
        """The model around the center if outputs are noisy; None: they are not."""
        noise = float(np.mean(self._noise)) if self._noise else 0.0
        center, reach = self._center_outputs, self._reach * self._unit
        if not noise or center is None:
            return None
        return self._memory.smoothed(self._in_blocks, center, reach, noise, latest)

    def _adapt_radius(self, values: np.ndarray, present: float) -> None:
        """Adapt the radius to the share of the predicted decrease that the best step achieved."""
        if not len(values):
            return
        best = int(values.argmin())
        radius, decrease = self._steps[best]
        if present - values[best] > _ENOUGH * max(0.0, decrease):
            self._radius = radius
        else:
            self._radius /= 2
        self._radius = float(np.clip(self._radius, _SMALLEST, _LARGEST))

    @property
    def _in_blocks(self) -> np.ndarray:
        """(B, d) the center, one row for each block."""
        return self._center.reshape(self.blocks, -1)

    @property
    def _unit(self) -> float:
        """√d for d variables per block, the unit of radii."""
        return math.sqrt(self.dim / self.blocks)

    def _step_candidates(self) -> tuple[list[np.ndarray], LinearModel | None]:
        """Minimisers of the predicted loss in balls around the center, and the linear model."""
        center = self._center_outputs
        assert center is not None
        smoothed = self._smoothed(latest=1)
        model: LinearModel | None
        if smoothed is not None:
            model = smoothed.model
        else:
            model = self._memory.model(self._in_blocks, center, self._reach * self._unit)
        if model is None:
            return [], None
        ball = BallMinimizer(
            self._loss_and_slope, model, self._in_blocks, l2_penalty=self._l2_penalty
        )
        steps = []
        for factor in _RADII:
            t = ball.minimize(factor * self._radius * self._unit)
            steps.append(self._center + t.ravel())
            self._steps.append((factor * self._radius, ball.loss_at_center - ball.loss))
        return steps, model

    def _exploration_points(
        self, point: np.ndarray, model: LinearModel | None, count: int
    ) -> np.ndarray:
        """(count, dim) exploring points at the trust region's radius from ``point``.

        In each block, their directions are orthogonal to those of the model, if dimensions remain.
        """
        shape = count, *self._in_blocks.shape
        directions = self.rng.standard_normal(shape, dtype=np.float32)
        if model is not None and model.moves.shape[1] + count <= shape[2]:
            inside = model.project(directions.transpose(1, 0, 2))
            directions -= inside.transpose(1, 0, 2)
        directions /= np.linalg.norm(directions, axis=2, keepdims=True).clip(1e-12)
        return point + self._radius * self._unit * directions.reshape(count, self.dim)

    def _flat(self, outputs: Outputs) -> np.ndarray:
        """The k outputs as one array (k, B, n)."""
        assert outputs is not None
        arrays = [np.asarray(each, dtype=np.float32) for each in outputs]
        shape = self._shape if self._center_outputs is not None else arrays[0].shape
        if any(each.shape != shape for each in arrays):
            raise OptimizerError(
                f"outputs of the shapes {sorted({each.shape for each in arrays})} were passed to "
                f"{self.name!r}, whose first output has {shape}: give all the same shape"
            )
        if self.blocks > 1 and shape[-1:] != (self.blocks,):
            raise OptimizerError(
                f"outputs of shape {shape} do not divide into {self.blocks} blocks: outputs need "
                f"a last axis of that length"
            )
        self._shape = shape
        stacked = np.stack(arrays).reshape(len(arrays), -1, self.blocks)
        return np.ascontiguousarray(stacked.transpose(0, 2, 1))

    def _loss(self, outputs: np.ndarray) -> float:
        return self._loss_and_slope(outputs)[0]

    def _loss_and_slope(self, outputs: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss of (B, n) outputs and its gradient (B, n)."""
        assert self.output_loss is not None, "checked by tell"
        shaped = np.ascontiguousarray(outputs.T).reshape(self._shape)
        value, slope = self.output_loss(shaped)
        slope = np.asarray(slope, dtype=np.float32).reshape(-1, self.blocks)
        return float(value), np.ascontiguousarray(slope.T)

    def _own_state(self) -> dict[str, Any]:
        return {
            "radius": self._radius,
            "rejected": self._rejected,
            "noise": list(self._noise),
            "looked": self._explored_last,
            "shape": self._shape,
            "evaluated": self._center_outputs is not None,
            "rng": self.rng.bit_generator.state,
        }

    def _snapshot(self) -> dict[str, np.ndarray]:
        center = self._center_outputs
        # Candidates without losses are asked for again, hence the state before that ask.
        about = self._own_state() if self._awaited.generation is None else self._before_ask
        return {
            "logit_gn": np.array(json.dumps(about)),
            "center": self._center,
            "center_outputs": np.zeros(0, np.float32) if center is None else center,
            **self._memory.arrays(),
        }

    def _resume(self, arrays: Mapping[str, np.ndarray]) -> None:
        about = json.loads(str(arrays["logit_gn"]))
        self._radius, self._rejected = about["radius"], about["rejected"]
        self._explored_last, self._shape = about["looked"], tuple(about["shape"])
        self._noise = about.get("noise", [])  # states of earlier versions have none
        self.rng.bit_generator.state = about["rng"]
        self._center = np.array(arrays["center"], dtype=np.float64)
        if about["evaluated"]:
            self._center_outputs = np.array(arrays["center_outputs"], dtype=np.float32)
        self._memory.restore(arrays)
