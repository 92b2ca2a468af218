"""The interface of every optimizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from craft_zoo.optimizers.errors import OptimizerError


class Optimizer(ABC):
    """Minimises a function of d real variables that can only be evaluated.

    The start is the origin. A user's loop::

        optimizer = create("cma", dim=20, budget=2000, seed=1)
        used = 0
        while used < 2000:
            candidates = optimizer.ask()[: 2000 - used]
            losses = [f(z) for z in candidates]
            optimizer.tell(candidates, losses)
            used += len(candidates)
        best = optimizer.recommend()

    A subclass implements :meth:`_ask`, :meth:`_tell` and :meth:`recommend`, declares its options
    as keyword-only arguments with type and default, and is made known by
    :func:`craft_zoo.optimizers.register`.

    Random numbers come from ``self.rng`` or a generator derived from ``seed``, never from a global
    one, so that optimizers in one process do not disturb each other.

    Args:
        dim: d.
        budget: how many candidates will be evaluated in all.
        seed: seed of all the optimizer's randomness.
    """

    def __init__(self, dim: int, *, budget: int, seed: int) -> None:
        if dim < 1:
            raise OptimizerError(f"an optimizer needs at least 1 dimension, not {dim}")
        if budget < 1:
            raise OptimizerError(f"an optimizer needs a budget of at least 1, not {budget}")
        self.dim, self.budget, self.seed = dim, budget, seed
        self.rng = np.random.default_rng(seed)
        self._asked: np.ndarray | None = None

    def ask(self) -> np.ndarray:
        """The next generation, (λ, d) float64; λ is the optimizer's choice and may vary."""
        if self._asked is not None:
            raise OptimizerError("ask was called twice: tell the losses of the first candidates")
        self._asked = np.asarray(self._ask(), dtype=np.float64)
        return self._asked.copy()

    def tell(
        self,
        candidates: np.ndarray,
        losses: Sequence[float] | np.ndarray,
        outputs: Sequence[np.ndarray] | None = None,
    ) -> None:
        """Report what the candidates were worth.

        Args:
            candidates: the first rows of what :meth:`ask` returned, all of them unless the budget
                ended; (k, d).
            losses: (k,), smaller is better. NaN and +inf count as the worst finite loss of the
                generation (as 0 where none is finite).
            outputs: k arrays behind the losses (the logits), for optimizers that learn from them.
        """
        if self._asked is None:
            raise OptimizerError("tell was called before ask: ask for candidates first")
        n_asked, k = len(self._asked), len(candidates)
        if np.shape(candidates) != (k, self.dim) or not 0 < k <= n_asked:
            raise OptimizerError(
                f"candidates of shape {np.shape(candidates)} were told, "
                f"({n_asked}, {self.dim}) were asked for: tell what ask returned"
            )
        values = np.asarray(losses, dtype=np.float64)
        if values.shape != (k,):
            raise OptimizerError(
                f"{k} candidates came with losses of shape {values.shape}: give one number each"
            )
        finite = values[np.isfinite(values)]
        worst = finite.max() if len(finite) else 0.0
        values = np.where(np.isfinite(values), values, worst)
        complete = k == n_asked
        self._asked = None
        self._tell(np.asarray(candidates, dtype=np.float64), values, outputs, complete)

    @abstractmethod
    def _ask(self) -> np.ndarray:
        """See :meth:`ask`."""

    @abstractmethod
    def _tell(
        self,
        candidates: np.ndarray,
        losses: np.ndarray,
        outputs: Sequence[np.ndarray] | None,
        complete: bool,
    ) -> None:
        """See :meth:`tell`; ``losses`` are finite, ``complete`` is False when the budget cut it."""

    @abstractmethod
    def recommend(self) -> np.ndarray:
        """(d,) the point to deploy now; before the first tell, the start."""
