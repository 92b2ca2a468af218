"""VkD-CMA-ES for many variables (pycma)."""

from __future__ import annotations

from typing import Any

from cma.restricted_gaussian_sampler import GaussVkDSampler

from craft_zoo.optimizers.pycma import Pycma
from craft_zoo.optimizers.registry import register


@register("vkd-cma")
class VkdCMA(Pycma):
    """VkD-CMA-ES (Akimoto & Hansen 2016, pycma): diagonal plus adaptive rank k; time linear in d.

    Use it for d in the thousands, where ``cma`` is slow; ``sep-cma`` ignores correlations.
    """

    def _variant(self) -> dict[str, Any]:
        return GaussVkDSampler.extend_cma_options(
            {"CMA_sampler_options": {"randn": self._standard_normal}}
        )
