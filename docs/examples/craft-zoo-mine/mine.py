"""An optimizer for craft-zoo: the (1+1) evolution strategy."""

import numpy as np

from craft_zoo.optimizers import Optimizer, OptimizerError, Outputs, Space, register


@register("mine")
class Mine(Optimizer):
    """(1+1)-ES (Rechenberg 1973): one random neighbour at a time, kept where it is better.

    Args:
        sigma: length of the first steps, a coordinate.
    """

    def __init__(self, space: Space | int, *, budget: int, seed: int, sigma: float = 0.3) -> None:
        super().__init__(space, budget=budget, seed=seed)
        if not sigma > 0:
            raise OptimizerError(f"option 'sigma' of 'mine' must be above 0, not {sigma}")
        self.sigma = sigma
        self.parent = np.zeros(self.dim)
        self.parent_loss = np.inf

    def _ask(self) -> np.ndarray:
        step = self.sigma * self.rng.standard_normal(self.dim)
        return (self.parent + step)[None]

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        if losses[0] < self.parent_loss:
            self.parent, self.parent_loss = candidates[0], losses[0]
            self.sigma *= 1.5
        else:
            self.sigma *= 1.5**-0.25  # one success in five keeps the length

    def recommend(self) -> np.ndarray:
        """The best candidate so far."""
        return self.parent.copy()
