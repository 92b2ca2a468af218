"""Refiners: functions that correct the logits that a black box has returned.

- :class:`ConvexRefiner`, :func:`fit`: linear, the weighted sum of logistic regression and
  discriminant analysis; :class:`Regularization`: what is chosen on the few shots, by
  :func:`choose_sum`, or for logistic regression alone by :func:`choose_regularization`
- :mod:`craft_zoo.refiner.network`: the residual network of Wang et al. 2024, with PyTorch
"""

from craft_zoo.refiner.convex import ConvexRefiner, Regularization, fit
from craft_zoo.refiner.folds import held_out_folds
from craft_zoo.refiner.selection import choose_regularization, choose_sum, held_out_logits

__all__ = [
    "ConvexRefiner",
    "Regularization",
    "choose_regularization",
    "choose_sum",
    "fit",
    "held_out_folds",
    "held_out_logits",
]
