"""Open a model by name: one on this machine, or one of a scheme, as in ``hf-api:https://HOST``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from craft_zoo import mini
from craft_zoo.blackbox.base import VLM
from craft_zoo.errors import CraftZooError
from craft_zoo.optimizers.plugins import Registry

DEFAULT_MEMORY = 1024  # megabytes


@dataclass(frozen=True)
class ModelSpec:
    """Which model is opened, and how it is used.

    Attributes:
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
            :func:`craft_zoo.openclip.cache_folder`; a folder; or False.
        max_predictions: the most that a model behind a network may be asked for; see
            :class:`craft_zoo.blackbox.CostLimit`, as for the two that follow.
        price: of one prediction.
        max_cost: of all of them.
    """

    model: str = mini.NAME
    pretrained: str | None = None
    quickgelu: bool | None = None
    device: str | None = None
    precision: str = "fp32"
    memory: int = DEFAULT_MEMORY
    compile: bool = False
    cache: bool | str | Path = True
    max_predictions: int | None = None
    price: float | None = None
    max_cost: float | None = None

    def open(self) -> VLM:
        """Open the model, see :func:`load_vlm`."""
        # Imported here, as it implements this package's interface.
        from craft_zoo.openclip import OpenCLIP, with_activation

        model = with_activation(self.model, self.quickgelu)
        scheme = _scheme_of(model)
        if scheme is not None:
            if self.pretrained is not None or self.device is not None:
                raise CraftZooError(
                    f"weights and device of {model} are its owner's: leave out pretrained "
                    f"(--pretrained) and device (--device)"
                )
            return scheme.opener(self)
        if self.max_predictions is not None or self.max_cost is not None:
            raise CraftZooError(
                f"{model} is on this machine and costs nothing: leave out the limits of "
                f"predictions and cost"
            )
        pretrained = self.pretrained
        if pretrained is None:
            model, _, tag = model.partition("@")
            pretrained = tag or None
        return OpenCLIP.load(
            model,
            pretrained,
            device=self.device,
            precision=self.precision,
            memory=self.memory,
            compile=self.compile,
            cache=self.cache,
        )


Opener = Callable[[ModelSpec], VLM]


class _Scheme(NamedTuple):
    opener: Opener
    over_network: bool


REGISTRY: Registry[_Scheme] = Registry(
    "model", "craft_zoo.client", "craft_zoo.models", CraftZooError
)


def register_model(*schemes: str, over_network: bool = True) -> Callable[[Opener], Opener]:
    """Decorator: make a function the opener of all models whose names begin with a scheme.

    Its docstring's first line describes them in ``craft-zoo models``.

    Args:
        *schemes: beginnings of names, as ``hf-api:``.
        over_network: whether images and keys leave this machine.

    Raises:
        CraftZooError: another function has the scheme.
    """

    def register(opener: Opener) -> Opener:
        for scheme in schemes:
            REGISTRY.add(scheme, _Scheme(opener, over_network), opener)
        return opener

    return register


def model_schemes() -> dict[str, str]:
    """Every registered scheme with its one-line description."""
    return REGISTRY.summaries()


def is_address(model: str) -> bool:
    """Whether a model's name leads over a network, where keys and images would be sent."""
    scheme = _scheme_of(model)
    return scheme is not None and scheme.over_network


def _scheme_of(model: str) -> _Scheme | None:
    REGISTRY.load()
    return next(
        (found for scheme, found in REGISTRY.things.items() if model.startswith(scheme)), None
    )


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
    """Open a model, on this machine or behind a network; the arguments are :class:`ModelSpec`'s.

    Raises:
        CraftZooError: the model is unknown or cannot be loaded, or a server does not answer.

    Warns:
        CraftZooWarning: how a file's weights are to be used cannot be known, or a library warns.
    """
    return ModelSpec(
        *(model, pretrained, quickgelu, device, precision, memory, compile, cache),
        *(max_predictions, price, max_cost),
    ).open()
