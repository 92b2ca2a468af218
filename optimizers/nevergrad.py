"""Adapter for all optimizers of nevergrad's registry."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from craft_zoo.optimizers.base import Optimizer, Outputs
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.global_rng import GlobalGenerator, wait_for_threads
from craft_zoo.optimizers.option import check_above_zero, check_at_least
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space

_MOST_ALTERNATIVES = 12  # maximum number of values of a nevergrad parameter


def _digits(count: int) -> tuple[int, int]:
    """Base and number of digits with which ``count`` alternatives can be numbered."""
    k = max(1, math.ceil(math.log(count) / math.log(_MOST_ALTERNATIVES) - 1e-9))
    base = math.ceil(count ** (1 / k) - 1e-9)
    return base, k


@register("nevergrad")
class Nevergrad(Optimizer):
    """Any optimizer of nevergrad (Rapin & Teytaud 2018): nevergrad:NAME, by default NGOpt.

    Args:
        variant: name in nevergrad's registry.
        workers: candidates a generation; nevergrad's algorithms adapt to it.
        sigma: standard deviation of the initial mutations.
        bound: every coordinate stays in [-bound, bound]; none for no bounds.
    """

    uses_choices: ClassVar[bool] = True

    def __init__(
        self,
        space: Space | int,
        *,
        budget: int,
        seed: int,
        variant: str = "",
        workers: int = 1,
        sigma: float = 1.0,
        bound: float | None = None,
    ) -> None:
        super().__init__(space, budget=budget, seed=seed)
        import nevergrad as ng  # slow to import, so only on use
        from nevergrad.optimization import recaster

        # Else a thread that waits for a loss would keep the program from ending.
        recaster._MessagingThread.daemon = True
        name = self._variant = variant or "NGOpt"
        if name not in ng.optimizers.registry:
            known = {each.lower(): each for each in ng.optimizers.registry}
            similar = [known[each] for each in difflib.get_close_matches(name.lower(), known, n=3)]
            hint = f"did you mean {' or '.join(similar)}?" if similar else "see nevergrad's docs"
            raise OptimizerError(f"nevergrad has no optimizer {name!r}: {hint}")
        check_at_least(self.name, 1, workers=workers)
        check_above_zero(self.name, sigma=sigma, bound=bound)
        self._random_state = np.random.RandomState(seed % 2**32)
        self._workers = min(workers, budget)
        self._generator = GlobalGenerator(seed)  # some algorithms use the global one
        self._digits: list[tuple[int, int]] = []
        with self._at_work():
            variables = self._variables(sigma, bound)
            variables.random_state = self._random_state
            self._ng = ng.optimizers.registry[name](
                variables, budget=budget, num_workers=self._workers
            )
        self._pending: list[Any] = []
        self._failures: set[bytes] = set()  # points whose last evaluation failed

    def _variables(self, sigma: float, bound: float | None) -> Any:
        """The space as a parameter of nevergrad."""
        import nevergrad as ng

        if self.choices is None:
            array = ng.p.Array(init=np.zeros(self.dim)).set_mutation(sigma=sigma)
            return array if bound is None else array.set_bounds(-bound, bound)
        # A nevergrad parameter holds an object per alternative: a candidate with a choice of 1000
        # words takes 1 s. So a choice with many alternatives is split into digits.
        self._digits = [_digits(int(count)) for count in self.choices]
        each = [ng.p.TransitionChoice(range(base)) for base, k in self._digits for _ in range(k)]
        return ng.p.Tuple(*each)

    def _point(self, value: Any) -> np.ndarray:
        """(d,) numbers of nevergrad, or choices decoded from their digits."""
        if self.choices is None:
            return np.asarray(value, dtype=np.float64)
        digits, chosen = iter(value), []
        for base, k in self._digits:
            number = 0
            for _ in range(k):
                number = base * number + next(digits)
            chosen.append(number)
        return np.array(chosen, dtype=np.float64) % self.choices

    def _ask(self) -> np.ndarray:
        with self._at_work():
            self._pending = [self._ng.ask() for _ in range(self._workers)]
        points = np.empty((self._workers, self.dim))
        for row, each in zip(points, self._pending, strict=True):
            row[:] = self._point(each.value)
        return points

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        pending, self._pending = self._pending[: len(losses)][::-1], []
        with self._at_work():
            for loss in losses.tolist():
                self._ng.tell(pending.pop(), loss)  # freed at once, while it is in the cache
                wait_for_threads()
        if not self._failures and not self.failed.any():
            return
        for candidate, failed in zip(candidates, self.failed, strict=True):
            if failed:
                self._failures.add(candidate.tobytes())
            else:
                self._failures.discard(candidate.tobytes())

    def recommend(self) -> np.ndarray:
        """nevergrad's recommendation; the best candidate if that point's evaluation failed."""
        if not self.evaluations:
            return np.zeros(self.dim)
        before = self._random_state.get_state()  # some algorithms draw in recommend
        with self._at_work(keep=False):
            recommended = self._point(self._ng.recommend().value).copy()
        self._random_state.set_state(before)
        if recommended.tobytes() in self._failures:
            return self.best.point  # some algorithms recommend the last point, or an early one
        return recommended

    @contextmanager
    def _at_work(self, *, keep: bool = True) -> Iterator[None]:
        with self._generator.swapped_in(keep=keep), warnings.catch_warnings(action="ignore"):
            try:
                yield
            except Exception as error:
                raise OptimizerError(
                    f"nevergrad's {self._variant} fails in {self.dim} dimensions with a budget of "
                    f"{self.budget} ({str(error).partition(chr(10))[0]}): choose another one"
                ) from error
