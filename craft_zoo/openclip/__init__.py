"""Models on this machine: open_clip architectures with their weights.

- :class:`OpenCLIP`: a model; :func:`pretrained_models`: names and weights that open_clip knows
- :func:`model_name`: the name of a model that was not opened; :func:`with_activation`,
  :func:`former_settings`: names that specify QuickGELU or GELU
- :func:`cache_folder`: folder of the image feature cache
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from craft_zoo.openclip.cache import cache_folder
from craft_zoo.openclip.weights import PRECISIONS, former_settings, model_name, with_activation

if TYPE_CHECKING:
    from craft_zoo.openclip.build import pretrained_models
    from craft_zoo.openclip.model import OpenCLIP

__all__ = [
    "PRECISIONS",
    "OpenCLIP",
    "cache_folder",
    "former_settings",
    "model_name",
    "pretrained_models",
    "with_activation",
]


if not TYPE_CHECKING:  # otherwise type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Import models on first use, as they need the extra ``torch`` and names do not."""
        if name not in ("OpenCLIP", "pretrained_models"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from craft_zoo.openclip import build, model

        return getattr(model if name == "OpenCLIP" else build, name)
