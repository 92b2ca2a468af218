"""Refiners: what corrects the logits that a black box has returned.

- :class:`ConvexRefiner`, :func:`fit`, :func:`choose_strength`: linear, solved to the optimum, its
  strength cross-validated on the few shots
- :class:`Refiner`, :class:`RefinerTrainer`: the residual network of Wang et al. 2024
"""

from craft_zoo.refiner.convex import ConvexRefiner, Strength, fit
from craft_zoo.refiner.network import Refiner, RefinerTrainer
from craft_zoo.refiner.selection import choose_strength, held_out_folds

__all__ = [
    "ConvexRefiner",
    "Refiner",
    "RefinerTrainer",
    "Strength",
    "choose_strength",
    "fit",
    "held_out_folds",
]
