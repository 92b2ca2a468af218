"""CraFT with the settings that its authors released."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from craft_zoo.craft import CraftConfig, Step
from craft_zoo.methods.base import Problem, register_method
from craft_zoo.methods.collaborative import network_objective, search


@dataclass(frozen=True)
class ReleasedSettings:
    """Settings that CraFT's authors released for a data set; the defaults are the common ones.

    Attributes:
        sigma: initial step size of CMA-ES.
        std: standard deviation of the entries of the projection matrix A.
        bound: largest absolute coordinate of candidates; None: unbounded.
        consistency: weight w of the prediction-consistent loss term.
        share: share of the budget (the paper's 1/n) after which the refiner's loss drops that term.
        batch_size: batch size of the refiner's training.
        hidden: width of the refiner's hidden layer.
        popsize: candidates per generation; the refiner trains one epoch per generation.
        intrinsic_dim: dimension d of the search space.
        lr: Adam's learning rate for the refiner.
    """

    sigma: float = 1.0
    std: float = 0.2
    bound: float | None = 5.0
    consistency: float = 0.1
    share: float = 0.25
    batch_size: int = 256
    hidden: int = 256
    popsize: int = 40
    intrinsic_dim: int = 512
    lr: float = 1e-3

    @property
    def optimizer(self) -> str:
        """Spec of the released CMA-ES."""
        bound = "" if self.bound is None else f",bound={self.bound}"
        return f"cma:popsize={self.popsize},sigma={self.sigma}{bound}"

    def config(self, initial_context: np.ndarray) -> CraftConfig:
        """The other settings in craft-zoo's units: ``scale`` is relative to the initial context."""
        rms = float(np.sqrt(np.mean(np.square(initial_context, dtype=np.float64))))
        return CraftConfig(
            refiner="network",
            intrinsic_dim=self.intrinsic_dim,
            scale=self.std * self.intrinsic_dim**0.5 / rms,
            consistency=self.consistency,
            consistency_share=self.share,
            hidden=self.hidden,
            lr=self.lr,
            batch_size=self.batch_size,
            epoch_queries=self.popsize,
        )


COMMON = ReleasedSettings()
"""For Caltech101, Flowers102, Stanford Cars, SUN397, UCF101 and data sets not in the table."""

TABLE: dict[str, ReleasedSettings] = {
    "oxford_pets": ReleasedSettings(sigma=0.02, share=1, batch_size=64),
    "fgvc_aircraft": ReleasedSettings(sigma=0.02, bound=None),
    "dtd": ReleasedSettings(sigma=0.02, std=1, consistency=0.001, share=1),
    "eurosat": ReleasedSettings(sigma=0.02, std=1, consistency=0.01, share=1),
    "food101": ReleasedSettings(bound=None, consistency=1, share=1),
    "imagenet": ReleasedSettings(std=1, bound=None, consistency=0, share=1, hidden=512),
}


@register_method("craft-released", uses_optimizer=False, settings={"views"})
def craft_released(problem: Problem) -> Iterator[Step]:
    """CraFT as released (Wang et al. 2024): CMA-ES, network refiner, settings by data set.

    Two differences from the release: the deployed context is the search distribution's mean, and
    the refiner learns from the queries' logits (``views`` gives it augmented images).
    """
    settings = TABLE.get(problem.name, COMMON)
    config = replace(settings.config(problem.initial_context), views=problem.config.views)
    same = replace(problem, config=config, optimizer=settings.optimizer)
    return search(same, network_objective(same))
