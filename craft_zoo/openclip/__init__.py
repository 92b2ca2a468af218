"""Models on this machine: open_clip architectures with their weights.

- :class:`OpenCLIP`: a model; :func:`pretrained_models`: names and weights that open_clip knows
- :func:`model_name`: the name of a model that was not opened; :func:`with_activation`,
  :func:`computed_before`: names that specify QuickGELU or GELU
- :func:`cache_folder`: folder of the image feature cache
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
