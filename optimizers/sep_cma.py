"""Separable CMA-ES (pycma)."""

from __future__ import annotations

from typing import Any

from craft_zoo.optimizers.pycma import Pycma
from craft_zoo.optimizers.registry import register


@register("sep-cma")
class SepCMA(Pycma):
    """Separable CMA-ES (Ros & Hansen 2008, pycma): a diagonal covariance, learnt d times faster."""

    def _variant(self) -> dict[str, Any]:
        return {"CMA_diagonal": True}
