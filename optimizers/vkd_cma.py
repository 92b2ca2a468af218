"""VkD-CMA-ES, for many variables."""

from __future__ import annotations

from typing import Any

from cma.restricted_gaussian_sampler import GaussVkDSampler

from craft_zoo.optimizers.pycma import Pycma
from craft_zoo.optimizers.registry import register


@register("vkd-cma")
class VkdCMA(Pycma):
    """VkD-CMA-ES (Akimoto & Hansen 2016, pycma): a diagonal and k axes, k learnt; time linear in d.

    For d in the thousands, where ``cma`` is slow and ``sep-cma`` blind to correlations.
    """

    def _variant(self) -> dict[str, Any]:
        return GaussVkDSampler.extend_cma_options(
            {"CMA_sampler_options": {"randn": self._standard_normal}}
        )
