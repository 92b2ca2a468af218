"""An optimizer that chooses another one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from craft_zoo.optimizers.base import Optimizer, Outputs
from craft_zoo.optimizers.registry import create, register
from craft_zoo.optimizers.space import Space


@register("auto")
class Auto(Optimizer):
    """Chooses by number and kind of variables, budget, and what is told; see its ``spec``.

    Args:
        outputs: whether outputs are told with the losses.
        parallel: whether the candidates of a generation are evaluated at the same time, so that an
            optimizer that asks for one at a time is no choice.
    """

    uses_choices = True
    uses_blocks = True

    def __init__(
        self,
        space: Space | int,
        *,
        budget: int,
        seed: int,
        outputs: bool = False,
        parallel: bool = False,
    ) -> None:
        super().__init__(space, budget=budget, seed=seed)
        spec = choose(self.space, budget, outputs, parallel)
        self._chosen = create(spec, self.space, budget=budget, seed=seed)
        self.snapshots = self._chosen.snapshots  # type: ignore[misc]
        self.learns_from_outputs = self._chosen.learns_from_outputs  # type: ignore[misc]
        self.needs_output_loss = self._chosen.needs_output_loss  # type: ignore[misc]

    @property
    def spec(self) -> str:
        """The spec of the chosen optimizer."""
        return self._chosen.spec

    def extend(self, evaluations: int) -> None:
        """Add ``evaluations`` to the budget; see :meth:`Optimizer.extend`."""
        super().extend(evaluations)
        self._chosen.extend(evaluations)

    def _ask(self) -> np.ndarray:
        return self._chosen.ask()

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        self._chosen.output_loss = self.output_loss
        self._chosen.tell(candidates, np.where(self.failed, np.nan, losses), outputs)

    def _snapshot(self) -> dict[str, np.ndarray]:
        return self._chosen._snapshot()

    def _resume(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._chosen.evaluations = self.evaluations
        self._chosen._resume(arrays)

    def _stop(self) -> str | None:
        return self._chosen.stop

    def recommend(self) -> np.ndarray:
        """The recommendation of the chosen optimizer."""
        return self._chosen.recommend()


def choose(space: Space, budget: int, outputs: bool, parallel: bool) -> str:
    """The spec that ``auto`` uses."""
    if space.choices is not None:
        return "columns" if outputs else "genetic"
    if outputs:
        return "logit-gn"
    popsize = 4 + int(3 * np.log(space.dim))
    if budget < popsize:
        return "random:popsize=1"
    return f"cma:popsize={popsize},restarts=bipop"
