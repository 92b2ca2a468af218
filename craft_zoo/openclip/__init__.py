"""Models on this machine: open_clip architectures with their weights.

- :class:`OpenCLIP`: a model; :func:`pretrained_models`: names and weights that open_clip knows
- :func:`model_name`: the name of a model that was not opened; :func:`with_activation`,
  :func:`former_settings`: names that specify QuickGELU or GELU
- :func:`cache_folder`: folder of the image feature cache
"""

import lazy_loader

# The stub lists the names. Models are imported on first use, as they need the extra ``torch`` and
# names do not.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
