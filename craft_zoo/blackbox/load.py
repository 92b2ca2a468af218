"""Open a model by name."""

from __future__ import annotations

from pathlib import Path

from craft_zoo import mini
from craft_zoo.blackbox.base import VLM
from craft_zoo.blackbox.hugging_face import SCHEME, HuggingFaceVLM
from craft_zoo.blackbox.openclip import DEFAULT_MEMORY, OpenCLIP
from craft_zoo.blackbox.remote import RemoteVLM
from craft_zoo.blackbox.weights import with_activation
from craft_zoo.errors import CraftZooError


def is_address(model: str) -> bool:
    """Whether a model's name leads over a network, where keys and images would be sent."""
    return model.startswith(("http://", "https://", SCHEME))


def load_vlm(
    model: str = mini.NAME,
    pretrained: str | None = None,
    *,
    quickgelu: bool | None = None,
    device: str | None = None,
    precision: str = "fp32",
    memory: int = DEFAULT_MEMORY,
    compile: bool = False,
    cache: bool | str | Path = True,
    max_predictions: int | None = None,
    price: float | None = None,
    max_cost: float | None = None,
) -> VLM:
    """Open a model, on this machine or behind a network.

    Args:
        model: ``craft-mini``, an open_clip architecture, or a whole :attr:`VLM.name`
            (``ViT-B-32@openai``); ``https://HOST``, where ``craft-zoo serve`` runs (the key is the
            environment's ``CRAFT_ZOO_API_KEY``); or ``hf-api:https://ENDPOINT``, which answers
            Hugging Face's zero-shot-image-classification (``HF_TOKEN``). The settings of a model on
            this machine are then those of its owner.
        pretrained: the weights: a tag of open_clip's, a checkpoint's path, or ``TAG@PATH`` for a
            file that is to be used as the tag's weights are.
        quickgelu: compute with QuickGELU, as OpenAI's weights were trained (True), or with GELU
            (False); by default as the weights' tag says, or a file shows. It becomes part of the
            model's name.
        device: a torch device; by default the GPU where there is one.
        precision: ``fp32``, ``fp16`` or ``bf16``; half precision is for GPUs.
        memory: megabytes that scoring may take beside the model and the logits of one candidate.
        compile: run the text tower through :func:`torch.compile`: half a minute at the start, for
            long runs on a GPU.
        cache: keep image features on disk for later runs: True, in
            :func:`craft_zoo.blackbox.cache_folder`; a folder; or False.
        max_predictions: the most that a model behind a network may be asked for; see
            :class:`craft_zoo.blackbox.remote.Spending`, as for the two that follow.
        price: of one prediction.
        max_cost: of all of them.

    Raises:
        CraftZooError: the model is unknown or cannot be loaded, or a server does not answer.

    Warns:
        CraftZooWarning: how a file's weights are to be used cannot be known, or a library warns.
    """
    model = with_activation(model, quickgelu)
    if is_address(model):
        if pretrained is not None or device is not None:
            raise CraftZooError(
                f"weights and device of {model} are its owner's: leave out pretrained "
                f"(--pretrained) and device (--device)"
            )
        kind = HuggingFaceVLM if model.startswith(SCHEME) else RemoteVLM
        return kind(model, max_predictions=max_predictions, price=price, max_cost=max_cost)
    if max_predictions is not None or max_cost is not None:
        raise CraftZooError(
            f"{model} is on this machine and costs nothing: leave out the limits of predictions "
            f"and cost"
        )
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
