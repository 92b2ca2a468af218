"""Opens a model by name. A prefix such as ``hf-api:`` selects the kind of model (its scheme)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from craft_zoo import mini
from craft_zoo.blackbox.base import VLM
from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.usage import Price
from craft_zoo.errors import CraftZooError, check_kind, needs_extra
from craft_zoo.optimizers.plugins import Registry

DEFAULT_MEMORY = 1024  # megabytes


@dataclass(frozen=True)
class ModelSpec:
    """Choice of a model and of the settings with which it is opened.

    Attributes:
        model: ``craft-mini``, an open_clip architecture, or a complete :attr:`VLM.name`
            (``ViT-B-32@openai``); ``hf-hub:ORG/NAME`` or ``local-dir:FOLDER``; ``https://HOST``
            for a model served by ``craft-zoo serve`` (API key in the environment variable
            ``CRAFT_ZOO_API_KEY``); or the name of a service, such as ``openai:MODEL``; see
            :func:`model_schemes` for all prefixes. The owner of a model behind a network chooses
            the settings from ``pretrained`` to ``cache``.
        pretrained: weights: an open_clip tag, the path of a checkpoint, or ``TAG@PATH`` for a file
            that is used with the settings of the tag.
        quickgelu: use QuickGELU, with which OpenAI's weights were trained (True), or GELU (False);
            None: as the tag or the file says. It becomes part of the model's name.
        device: torch device; None: the GPU if there is one.
        precision: ``fp32``, ``fp16`` or ``bf16``; half precision is for GPUs.
        memory: megabytes that scoring may use besides the model and the logits of one candidate.
        compile: run the text tower through :func:`torch.compile`. This takes half a minute at the
            start, and pays in long runs on a GPU.
        cache: whether image features are kept on disk for later runs: True, in
            :func:`craft_zoo.openclip.cache_folder`; a folder; or False.
        max_predictions: see :class:`craft_zoo.blackbox.CostLimit`; for models behind a network.
        price: prices of what a service bills, or the price of one prediction; None: as published,
            if known.
        max_cost: maximum cost of all that the service bills.
        options: (name, value) of options of a service, see
            :class:`craft_zoo.client.services.PaidOptions`.
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
    price: Price | float | None = None
    max_cost: float | None = None
    options: tuple[tuple[str, str], ...] = ()

    def open(self) -> VLM:
        """Open the model, see :func:`load_vlm`."""
        # Imported here, because openclip imports this package.
        from craft_zoo.openclip import with_activation

        model = with_activation(self.model, self.quickgelu)
        opener = _opener_of(model)
        if opener is not None:
            if self.pretrained is not None or self.device is not None:
                raise CraftZooError(
                    f"the owner of {model} chooses its weights and device: leave out pretrained "
                    f"(--pretrained) and device (--device)"
                )
            return opener(self)
        self.check_no_options()
        pays_llm = isinstance(self.price, Price) and self.price.knows_llm
        if self.max_predictions is not None or (self.max_cost is not None and not pays_llm):
            raise CraftZooError(
                f"{model} is on this machine and costs nothing: leave out the limits of "
                f"predictions and cost, or give the price of a language model (llm_output_tokens=…)"
            )
        with needs_extra("torch", f"the model {model}"):
            from craft_zoo.openclip import OpenCLIP
        pretrained = self.pretrained
        if pretrained is None:
            model, _, tag = model.partition("@")
            pretrained = tag or None
        vlm = OpenCLIP.load(
            model,
            pretrained,
            device=self.device,
            precision=self.precision,
            memory=self.memory,
            compile=self.compile,
            cache=self.cache,
        )
        vlm.cost_limit = CostLimit(price=self.price, max_cost=self.max_cost)
        return vlm

    def check_no_options(self) -> None:
        """Raise CraftZooError if there are options, for a model that has none."""
        if self.options:
            raise CraftZooError(
                f"{self.model} has no options, which only services have: leave out options "
                f"(--model-option)"
            )


Opener = Callable[[ModelSpec], VLM]


REGISTRY: Registry[Opener] = Registry(
    "model", "craft_zoo.client", "craft_zoo.models", CraftZooError
)


def register_model(*schemes: str) -> Callable[[Opener], Opener]:
    """Decorator that registers a function as the opener of models whose names have a prefix.

    ``craft-zoo models`` lists the first line of the function's docstring.

    Args:
        *schemes: prefixes of names, such as ``hf-api:``.

    Raises:
        CraftZooError: a scheme is registered already.
    """
    return REGISTRY.register(*schemes)


def model_schemes() -> dict[str, str]:
    """One-line description of every registered scheme."""
    return REGISTRY.summaries()


def is_address(model: str) -> bool:
    """Whether a model is reached over a network, so that keys and images leave this machine."""
    return _opener_of(model) is not None


def _opener_of(model: str) -> Opener | None:
    REGISTRY.load()
    return next(
        (found for scheme, found in REGISTRY.items.items() if model.startswith(scheme)), None
    )


def load_vlm(
    model: str = mini.NAME,
    pretrained: str | Path | None = None,
    *,
    quickgelu: bool | None = None,
    device: str | None = None,
    precision: str = "fp32",
    memory: int = DEFAULT_MEMORY,
    compile: bool = False,
    cache: bool | str | Path = True,
    max_predictions: int | None = None,
    price: Price | float | None = None,
    max_cost: float | None = None,
    options: Mapping[str, object] | None = None,
) -> VLM:
    """Open a model on this machine or behind a network. The arguments are :class:`ModelSpec`'s.

    Raises:
        CraftZooError: the model is unknown or cannot be loaded, or a server does not answer.

    Warns:
        CraftZooWarning: a weights file does not say how it is to be used, or a library warns.
    """
    check_kind("model", model, str, '"craft-mini"')
    pretrained = None if pretrained is None else str(pretrained)
    return ModelSpec(
        *(model, pretrained, quickgelu, device, precision, memory, compile, cache),
        *(max_predictions, price, max_cost),
        tuple((name, str(value)) for name, value in (options or {}).items()),
    ).open()
