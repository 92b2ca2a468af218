"""Every optimizer of nevergrad's registry."""

from __future__ import annotations

import difflib
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.registry import register


@register("nevergrad")
class Nevergrad(Optimizer):
    """Any optimizer of nevergrad (Rapin & Teytaud 2018): nevergrad:NAME, by default NGOpt.

    Args:
        variant: the name in nevergrad's registry.
        workers: candidates a generation; nevergrad's algorithms adapt to it.
        sigma: standard deviation of the first mutations.
    """

    def __init__(
        self,
        dim: int,
        *,
        budget: int,
        seed: int,
        variant: str = "",
        workers: int = 1,
        sigma: float = 1.0,
    ) -> None:
        super().__init__(dim, budget=budget, seed=seed)
        import nevergrad as ng  # slow to import, so only on use

        name = variant or "NGOpt"
        if name not in ng.optimizers.registry:
            similar = difflib.get_close_matches(name, list(ng.optimizers.registry), n=3)
            hint = f"did you mean {' or '.join(similar)}?" if similar else "see nevergrad's docs"
            raise OptimizerError(f"nevergrad has no optimizer {name!r}: {hint}")
        if not workers >= 1:
            raise OptimizerError(
                f"option 'workers' of 'nevergrad' must be at least 1, not {workers}"
            )
        if not sigma > 0:
            raise OptimizerError(f"option 'sigma' of 'nevergrad' must be above 0, not {sigma}")
        parametrization = ng.p.Array(init=np.zeros(dim)).set_mutation(sigma=sigma)
        parametrization.random_state = np.random.RandomState(seed % 2**32)
        self._workers = min(workers, budget)
        self._numpy_state = np.random.RandomState(seed % 2**32).get_state()
        self._python_state = random.Random(seed).getstate()
        with self._quiet_and_isolated():
            self._ng: Any = ng.optimizers.registry[name](
                parametrization, budget=budget, num_workers=self._workers
            )
        self._pending: list[Any] = []
        self._told = False

    def _ask(self) -> np.ndarray:
        with self._quiet_and_isolated():
            self._pending = [self._ng.ask() for _ in range(self._workers)]
        return np.stack([candidate.value for candidate in self._pending])

    def _tell(
        self,
        candidates: np.ndarray,
        losses: np.ndarray,
        outputs: Sequence[np.ndarray] | None,
        complete: bool,
    ) -> None:
        with self._quiet_and_isolated():
            for candidate, loss in zip(self._pending, losses, strict=False):
                self._ng.tell(candidate, float(loss))
        self._told = True

    def recommend(self) -> np.ndarray:
        """What nevergrad recommends."""
        if not self._told:
            return np.zeros(self.dim)
        with self._quiet_and_isolated():
            return np.array(self._ng.recommend().value)

    @contextmanager
    def _quiet_and_isolated(self) -> Iterator[None]:
        """Give nevergrad global generators of its own: some metamodels draw from them."""
        numpy_state, python_state = np.random.get_state(), random.getstate()
        np.random.set_state(self._numpy_state)
        random.setstate(self._python_state)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            self._numpy_state, self._python_state = np.random.get_state(), random.getstate()
            np.random.set_state(numpy_state)
            random.setstate(python_state)
