"""Open a model by name."""

from __future__ import annotations

from craft_zoo import mini
from craft_zoo.blackbox.base import VLM
from craft_zoo.blackbox.openclip import OpenCLIP


def load_vlm(
    model: str = mini.NAME,
    pretrained: str | None = None,
    *,
    device: str | None = None,
    precision: str = "fp32",
) -> VLM:
    """Open a model, on this machine.

    Args:
        model: ``craft-mini``, an open_clip architecture, or a whole :attr:`VLM.name`
            (``ViT-B-32@openai``).
        pretrained: the weights: a tag of open_clip's or a checkpoint's path.
        device: a torch device; by default the GPU where there is one.
        precision: ``fp32``, ``fp16`` or ``bf16``.

    Raises:
        CraftZooError: the model is unknown or cannot be loaded.
    """
    if pretrained is None:
        model, _, tag = model.partition("@")
        pretrained = tag or None
    return OpenCLIP.load(model, pretrained, device=device, precision=precision)
