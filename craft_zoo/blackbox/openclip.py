"""Any open_clip model on this machine, seen as a black box."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor

from craft_zoo import mini
from craft_zoo.blackbox.base import DEFAULT_INIT, VLM, BlackBox, ImageSet
from craft_zoo.blackbox.text import Model, Tokenizer, text_encoder
from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.errors import CraftZooError
from craft_zoo.logs import quiet

# On a CPU a large batch spends its time on fresh memory for activations: 8 took half of 64's time.
_IMAGE_BATCH = {"cpu": 8, "cuda": 256}
PRECISIONS = ("fp32", "fp16", "bf16")


class OpenCLIP(VLM):
    """An open_clip model and what goes with it.

    Args:
        model: the model, in evaluation mode.
        preprocess: PIL image → tensor (3, H, W).
        tokenizer: texts → token ids (n, context_length).
        name: see :attr:`VLM.name`.
    """

    def __init__(
        self,
        model: Model,
        preprocess: Callable[..., Tensor],
        tokenizer: Tokenizer,
        *,
        name: str,
    ) -> None:
        self._model = model.eval().requires_grad_(False)
        self._model.visual.to(memory_format=torch.channels_last)  # faster convolutions
        self._preprocess = preprocess
        self._tokenizer = tokenizer
        self.name = name

    @classmethod
    def load(
        cls,
        model: str = mini.NAME,
        pretrained: str | None = None,
        *,
        device: str | None = None,
        precision: str = "fp32",
    ) -> OpenCLIP:
        """Load an architecture with its weights.

        Args:
            model: an open_clip architecture (``ViT-B-32``, ``hf-hub:org/name``), or the embedded
                ``craft-mini``.
            pretrained: one of open_clip's tags (downloaded on first use) or a checkpoint's path.
            device: a torch device; by default the GPU where there is one.
            precision: one of ``fp32``, ``fp16``, ``bf16``.

        Raises:
            CraftZooError: unknown model, tag, device or precision; the weights do not fit or
                cannot be downloaded.
        """
        if precision not in PRECISIONS:
            raise CraftZooError(f"unknown precision {precision!r}: choose {', '.join(PRECISIONS)}")
        target = _device(device)
        if model == mini.NAME:
            if pretrained is not None:
                raise CraftZooError(f"{mini.NAME} has its weights built in: leave out --pretrained")
            built, preprocess, tokenizer = mini.create()
            built = built.to(target, dtype=_DTYPES[precision])
        else:
            built, preprocess, tokenizer = _create(model, pretrained, target, precision)
        if pretrained is not None and Path(pretrained).is_file():
            pretrained = str(Path(pretrained).resolve())
        name = model if pretrained is None else f"{model}@{pretrained}"
        return cls(built, preprocess, tokenizer, name=name)

    def images(self, images: Sequence[ImageSource]) -> _Features:
        """Encode images once.

        Raises:
            CraftZooError: an image is missing or corrupt.
        """
        parameter = next(self._model.visual.parameters())
        size = _IMAGE_BATCH.get(parameter.device.type, 64)
        features = []
        with ThreadPoolExecutor(os.cpu_count()) as pool, torch.inference_mode():
            for start in range(0, len(images), size):
                pixels = torch.stack(list(pool.map(self._prepare, images[start : start + size])))
                pixels = pixels.to(
                    parameter.device, parameter.dtype, memory_format=torch.channels_last
                )
                features.append(self._model.encode_image(pixels, normalize=True))
        return _Features(torch.cat(features), self)

    def _prepare(self, source: ImageSource) -> Tensor:
        return self._preprocess(open_image(source))

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> OpenCLIPClassifier:
        """Open the model on class names.

        Raises:
            CraftZooError: no class names, or one is too long for the model.
        """
        if not classnames:
            raise CraftZooError("no class names were given: give at least one")
        return OpenCLIPClassifier(self, self._model, self._tokenizer, classnames, init)


class _Features(ImageSet):
    """Normalised image features (N, embed_dim), for the eyes of their model only."""

    def __init__(self, features: Tensor, owner: OpenCLIP) -> None:
        self.features, self.owner = features, owner

    def __len__(self) -> int:
        return len(self.features)


class OpenCLIPClassifier(BlackBox):
    """An open_clip model opened on class names; logits = logit scale · cosine (+ bias)."""

    accepts = frozenset({"contexts"})

    def __init__(
        self,
        owner: OpenCLIP,
        model: Model,
        tokenizer: Tokenizer,
        classnames: Sequence[str],
        init: str,
    ) -> None:
        self._owner, self._model = owner, model
        self._encoder = text_encoder(model, tokenizer, classnames, init)
        self.classnames = tuple(classnames)
        self.initial_context = self._encoder.initial_context.float().cpu().numpy()

    def logits(self, contexts: np.ndarray, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`."""
        if not isinstance(images, _Features) or images.owner is not self._owner:
            raise CraftZooError(
                "the images were handed to another model: use this model's images()"
            )
        device = images.features.device
        text = self._encoder(torch.as_tensor(contexts, dtype=torch.float32, device=device))
        scale, bias = self._model.logit_scale.exp(), getattr(self._model, "logit_bias", None)
        for features in text:
            logits = scale * (images.features @ features.T)
            yield (logits if bias is None else logits + bias).float().cpu().numpy()


_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise CraftZooError(f"unknown device {name!r}: use cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CraftZooError("no CUDA device is available here: use --device cpu")
    return device


def _create(
    model: str, pretrained: str | None, device: torch.device, precision: str
) -> tuple[Model, Callable[..., Tensor], Tokenizer]:
    has_schema = ":" in model
    if not has_schema:
        if model not in open_clip.list_models():
            raise CraftZooError(
                f"unknown model {model!r}: use {mini.NAME}, or one of open_clip's architectures "
                f"(python -c 'import open_clip; print(open_clip.list_models())')"
            )
        tags = open_clip.list_pretrained_tags_by_model(model)
        if pretrained is None:
            raise CraftZooError(
                f"model {model} needs weights: add --pretrained with a checkpoint's path or one "
                f"of {', '.join(tags) or '(open_clip has no weights for it)'}"
            )
        if pretrained not in tags and not Path(pretrained).is_file():
            raise CraftZooError(
                f"{pretrained!r} is neither a file nor weights that open_clip has for {model}: "
                f"give a checkpoint's path or one of {', '.join(tags) or '(none)'}"
            )
    try:
        with warnings.catch_warnings(), quiet():
            warnings.filterwarnings("ignore", message="QuickGELU mismatch")
            built, _, preprocess = open_clip.create_model_and_transforms(
                model, pretrained, device=device, precision=precision
            )
            return built, preprocess, open_clip.get_tokenizer(model)
    except Exception as error:  # open_clip, the hub's client and torch raise all kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CraftZooError(
            f"model {model} with weights {pretrained!r} cannot be loaded ({reason[:300]}): "
            f"check that the file fits the architecture, or that this machine reaches the hub"
        ) from error
