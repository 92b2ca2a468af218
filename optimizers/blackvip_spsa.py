"""The optimizer of BlackVIP: averaged two-point estimates with momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.space import Space
from craft_zoo.optimizers.zip_spsa import ZipSPSA


class BlackvipSPSA(ZipSPSA):
    """SPSA-GC as the code of BlackVIP (Oh et al. 2023) has it.

    Step k = 1, 2, … estimates the gradient as :class:`ZipSPSA` does, at a distance of
    ``c / k^gamma``, and follows it with Nesterov momentum m, which starts at 0, without a clip::

        m ← momentum m + gradient
        y ← y - a_k (gradient + momentum m)        a_k = a / (k + 1)^0.4

    Unlike ``spsa-gc``, it neither calibrates its gains nor retreats. Their scale is that of
    BlackVIP's decoder, so it has no name in the registry.

    Args:
        momentum: share of m that the next step keeps.
        gamma: exponent with which the distance of the candidates shrinks.
    """

    def __init__(
        self, space: Space | int, *, momentum: float = 0.9, gamma: float = 0.1, **common: Any
    ) -> None:
        super().__init__(space, **common)
        if not 0 <= momentum < 1 or not gamma >= 0:
            raise OptimizerError(
                f"the momentum of blackvip must be in [0, 1) and its gamma at least 0, not "
                f"{momentum} and {gamma}"
            )
        self.momentum, self.gamma = momentum, gamma
        self._m = np.zeros(self.dim)

    def _distance(self) -> float:
        return self.c / self._k**self.gamma

    def _follow(self, gradient: np.ndarray) -> None:
        self._m = self.momentum * self._m + gradient
        self._y = self._y - self._gain() * (gradient + self.momentum * self._m)
