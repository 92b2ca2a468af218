"""Features of pretrained image models on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from craft_zoo.blackbox.load import load_vlm
from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.errors import CraftZooError, needs_extra
from craft_zoo.local_features.registry import register_features

_BATCH = 32


@register_features("timm:")
def of_timm(images: Sequence[ImageSource], name: str) -> np.ndarray:
    """timm:NAME: pooled features of a pretrained model of timm (timm:resnet18, timm:NAME@FILE)."""
    model, transform = timm_model(name)
    import torch

    rows = []
    for first in range(0, len(images), _BATCH):
        batch = [transform(open_image(image)) for image in images[first : first + _BATCH]]
        with torch.inference_mode():
            rows.append(model(torch.stack(batch)).flatten(1).numpy())
    return np.concatenate(rows)


@lru_cache(maxsize=1)
def timm_model(name: str) -> tuple[Any, Any]:
    """A model of timm without its classifier, and its preprocessing.

    Args:
        name: its name, or ``NAME@FILE`` for weights in a file.

    Raises:
        CraftZooError: it cannot be loaded.
    """
    with needs_extra("torch", f"timm:{name}"):
        import timm  # a dependency of open_clip; takes seconds

    architecture, _, file = name.partition("@")
    given: dict[str, Any] = {"pretrained_cfg_overlay": {"file": file}} if file else {}
    try:
        model = timm.create_model(architecture, pretrained=True, num_classes=0, **given).eval()
    except Exception as error:  # unknown name, no network: timm and its hub raise many types
        raise CraftZooError(
            f"timm cannot load the model {name!r} ({error}): check its name and the network, "
            f"or give its weights as timm:NAME@FILE"
        ) from None
    config = timm.data.resolve_model_data_config(model)
    return model, timm.data.create_transform(**config, is_training=False)


@register_features("openclip:")
def of_openclip(images: Sequence[ImageSource], name: str) -> np.ndarray:
    """openclip:NAME: image features of an open_clip model, as in openclip:ViT-B-32@openai."""
    vlm = _openclip(name)
    return vlm.features(vlm.images(images))


@lru_cache(maxsize=1)
def _openclip(name: str) -> Any:
    return load_vlm(name)
