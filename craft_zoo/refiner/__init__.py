"""Refiners: functions that correct the logits that a black box has returned.

- :class:`ConvexRefiner`, :func:`fit`: linear, the weighted sum of logistic regression
  (:func:`fit_logistic`) and discriminant analysis (:func:`with_discriminants`)
- :class:`Regularization`: what is chosen on the few shots, by :func:`choose_sum`, for logistic
  regression alone by :func:`choose_regularization`, both at once by :func:`choose_both`
- :mod:`craft_zoo.refiner.network`: the residual network of Wang et al. 2024, with PyTorch
"""

from craft_zoo.refiner.convex import (
    ConvexRefiner,
    Regularization,
    fit,
    fit_logistic,
    with_discriminants,
)
from craft_zoo.refiner.folds import folds_leave_one_image, held_out_folds
from craft_zoo.refiner.selection import (
    calibration_scale,
    choose_both,
    choose_regularization,
    choose_sum,
    held_out_logits,
)

__all__ = [
    "ConvexRefiner",
    "Regularization",
    "calibration_scale",
    "choose_both",
    "choose_regularization",
    "choose_sum",
    "fit",
    "fit_logistic",
    "folds_leave_one_image",
    "held_out_folds",
    "held_out_logits",
    "with_discriminants",
]
