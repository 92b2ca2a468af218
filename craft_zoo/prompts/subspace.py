"""Subspace, the random linear subspace in which contexts are searched."""

from __future__ import annotations

from typing import Literal

import numpy as np

from craft_zoo.optimizers import Space
from craft_zoo.prompts.space import PromptSpace
from craft_zoo.seeding import generator


class Subspace(PromptSpace):
    """``context = p0 + reshape(A z)``: contexts for candidates z of a low-dimensional space.

    Random projections for prompt search are from Sun et al., "Black-Box Tuning for
    Language-Model-as-a-Service" (ICML 2022); CraFT uses them unchanged.

    Args:
        initial_context: p0, (n_ctx, dim) float32.
        dim: d, the number of coordinates of z.
        std: standard deviation of the entries of A.
        seed: seed of A.
        n_classes: C, if each class has its own context: a candidate then concatenates C vectors z,
            which share A. None: all classes share one context.
        entries: distribution of the entries of A, with mean 0.
    """

    def __init__(
        self,
        initial_context: np.ndarray,
        dim: int,
        *,
        std: float,
        seed: int,
        n_classes: int | None = None,
        entries: Literal["normal", "uniform"] = "normal",
    ) -> None:
        self.p0 = self.start = np.asarray(initial_context, dtype=np.float32)
        self.variables = Space(dim * (n_classes or 1), blocks=n_classes or 1)
        self.n_classes = n_classes
        rng = generator(seed, "subspace")
        shape, bound = (self.p0.size, dim), 3**0.5  # uniform entries in ±bound have variance 1
        is_normal = entries == "normal"
        unit = rng.standard_normal(shape) if is_normal else rng.uniform(-bound, bound, shape)
        self._basis = (std * unit).astype(np.float32)

    @classmethod
    def relative(
        cls,
        initial_context: np.ndarray,
        dim: int,
        *,
        scale: float,
        seed: int,
        n_classes: int | None = None,
    ) -> Subspace:
        """A subspace scaled by the model's embeddings, so that one ``scale`` fits all models.

        A standard normal z moves each coordinate of the context by ``scale`` times the root mean
        square of the initial context's coordinates.
        """
        rms = float(np.sqrt(np.mean(np.square(initial_context, dtype=np.float64))))
        std = scale * rms / np.sqrt(dim)
        return cls(initial_context, dim, std=std, seed=seed, n_classes=n_classes)

    def prompts(self, candidates: np.ndarray) -> np.ndarray:
        """(P, d) candidates → (P, n_ctx, dim) float32 contexts; (P, C d) → (P, C, n_ctx, dim)."""
        each = () if self.n_classes is None else (self.n_classes,)
        # One product of all rows takes less than half the time of one a candidate.
        z = np.asarray(candidates, dtype=np.float32).reshape(-1, self._basis.shape[1])
        return self.p0 + (z @ self._basis.T).reshape(len(candidates), *each, *self.p0.shape)
