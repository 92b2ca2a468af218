"""Open a model by name."""

from __future__ import annotations

from pathlib import Path

from craft_zoo import mini
from craft_zoo.blackbox.base import VLM
from craft_zoo.blackbox.openclip import DEFAULT_MEMORY, OpenCLIP


def load_vlm(
    model: str = mini.NAME,
    pretrained: str | None = None,
    *,
    device: str | None = None,
    precision: str = "fp32",
    memory: int = DEFAULT_MEMORY,
    compile: bool = False,
    cache: bool | str | Path = True,
) -> VLM:
    """Open a model, on this machine.

    Args:
        model: ``craft-mini``, an open_clip architecture, or a whole :attr:`VLM.name`
            (``ViT-B-32@openai``).
        pretrained: the weights: a tag of open_clip's or a checkpoint's path.
        device: a torch device; by default the GPU where there is one.
        precision: ``fp32``, ``fp16`` or ``bf16``; half precision is for GPUs.
        memory: megabytes that scoring may take beside the model and the logits of one candidate.
        compile: run the text tower through :func:`torch.compile`: half a minute at the start, for
            long runs on a GPU.
        cache: keep image features on disk for later runs: True, in
            :func:`craft_zoo.blackbox.cache_folder`; a folder; or False.

    Raises:
        CraftZooError: the model is unknown or cannot be loaded.
    """
    if pretrained is None:
        model, _, tag = model.partition("@")
        pretrained = tag or None
    return OpenCLIP.load(
        model,
        pretrained,
        device=device,
        precision=precision,
        memory=memory,
        compile=compile,
        cache=cache,
    )
