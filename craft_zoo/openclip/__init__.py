"""Models on this machine: OpenCLIP architectures with their weights.

- :class:`OpenCLIP`: a model; :func:`pretrained_models`: those that open_clip names
- :func:`model_name`: what a model will be called; :func:`with_activation`, :func:`computed_before`:
  names that say whether a model computes with QuickGELU
- :func:`cache_folder`: where image features are kept
"""

from craft_zoo.openclip.cache import cache_folder
from craft_zoo.openclip.model import PRECISIONS, OpenCLIP, pretrained_models
from craft_zoo.openclip.weights import computed_before, model_name, with_activation

__all__ = [
    "PRECISIONS",
    "OpenCLIP",
    "cache_folder",
    "computed_before",
    "model_name",
    "pretrained_models",
    "with_activation",
]
