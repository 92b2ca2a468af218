"""Refiners: functions that correct the logits that a black box has returned.

- :class:`ConvexRefiner`, :func:`fit`, :func:`choose_regularization`: linear, fitted to the global
  optimum; :class:`Regularization`: its strength, cross-validated on the few shots
- :class:`Refiner`, :class:`RefinerTrainer`: the residual network of Wang et al. 2024
"""

from craft_zoo.refiner.convex import ConvexRefiner, Regularization, fit
from craft_zoo.refiner.network import Refiner, RefinerTrainer
from craft_zoo.refiner.selection import choose_regularization, held_out_folds

__all__ = [
    "ConvexRefiner",
    "Refiner",
    "RefinerTrainer",
    "Regularization",
    "choose_regularization",
    "fit",
    "held_out_folds",
]
