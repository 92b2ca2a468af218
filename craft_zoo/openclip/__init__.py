"""Models on this machine: open_clip architectures with their weights.

- :class:`OpenCLIP`: a model; :func:`pretrained_models`: names and weights that open_clip knows
- :func:`model_name`: the name of a model that was not opened; :func:`with_activation`,
  :func:`former_settings`: names that specify QuickGELU or GELU
- :func:`cache_folder`: folder of the image feature cache
"""

from craft_zoo.openclip.cache import cache_folder
from craft_zoo.openclip.model import PRECISIONS, OpenCLIP, pretrained_models
from craft_zoo.openclip.weights import former_settings, model_name, with_activation

__all__ = [
    "PRECISIONS",
    "OpenCLIP",
    "cache_folder",
    "former_settings",
    "model_name",
    "pretrained_models",
    "with_activation",
]
