"""Local features: image features computed on this machine, without querying the black box.

- :func:`register_features`: adds an extractor
- :func:`extract`: computes features by name, such as ``colours+hog``
- :class:`LocalClassifier`: a linear classifier on them, whose logits are added to refined ones
"""

from craft_zoo.local_features.classifier import LocalClassifier, fit_classifiers, fused
from craft_zoo.local_features.registry import (
    DEFAULT_FEATURES,
    check_features,
    extract,
    feature_names,
    register_features,
)

__all__ = [
    "DEFAULT_FEATURES",
    "LocalClassifier",
    "check_features",
    "extract",
    "feature_names",
    "fit_classifiers",
    "fused",
    "register_features",
]
