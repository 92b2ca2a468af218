"""Models that the transformers library computes, with the parts that open_clip's models have.

They are those of its task of zero-shot image classification
(https://huggingface.co/docs/transformers/tasks/zero_shot_image_classification) whose logits are a
scale times the cosine of image and text, other than CLIP, which open_clip computes faster.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn

from craft_zoo.errors import CraftZooError
from craft_zoo.logs import quiet
from craft_zoo.openclip.text import Model
from craft_zoo.openclip.transformers_clip import image_settings

TYPES = ("altclip", "chinese_clip", "metaclip_2", "siglip")
_MOST_TOKENS = 77  # of a text, as of CLIP's, where a model would take more


class TransformersModel(nn.Module):
    """A model of transformers by the names of open_clip's.

    Args:
        model: one of the types in ``TYPES``.
        padding: id of the token that fills up texts and is not attended to; None: the model
            attends to all tokens.
    """

    def __init__(self, model: Model, padding: int | None) -> None:
        super().__init__()
        self.model, self.padding = model, padding
        parts = [part for name, part in model.named_children() if not name.startswith("text")]
        self.visual: Any = nn.ModuleList(parts)
        self.visual.image_size = model.config.vision_config.image_size
        self.logit_scale = model.logit_scale
        self.logit_bias = getattr(model, "logit_bias", None)

    @property
    def token_embedding(self) -> nn.Module:
        """The token embedding of the text tower."""
        # get_input_embeddings() is missing for some text towers in versions of transformers.
        n_tokens = self.model.config.text_config.vocab_size
        return next(
            part
            for part in self.model.text_model.modules()
            if isinstance(part, nn.Embedding) and part.num_embeddings == n_tokens
        )

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(n, 3, H, W) → features (n, embed_dim)."""
        return _features(self.model.get_image_features(pixel_values=pixels))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Token ids (n, length) → features (n, embed_dim)."""
        attended = None if self.padding is None else (tokens != self.padding).long()
        found = self.model.get_text_features(input_ids=tokens, attention_mask=attended)
        return _features(found)


def _features(found: Any) -> Tensor:
    """transformers returns an object since version 5, the features alone before."""
    return getattr(found, "pooler_output", found)


class TransformersTokenizer:
    """Texts → token ids (n, context_length)."""

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        self.tokenizer, self._length = tokenizer, context_length

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        return self.tokenizer(
            list(texts),
            max_length=context_length or self._length,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids


def load(
    name: str, kind: str
) -> tuple[TransformersModel, Callable[..., Tensor], TransformersTokenizer]:
    """Load a model with its preprocessing and its tokenizer, in float32 on the CPU.

    Args:
        name: ``local-dir:FOLDER`` or ``hf-hub:ORG/NAME``.
        kind: transformers' type of the model.

    Raises:
        CraftZooError: the type is none of ``TYPES``, weights, tokenizer or image processor are
            missing, or open_clip cannot prepare images as the image processor does.
        ImportError: transformers is not installed.
        OSError: the weights are missing or cannot be downloaded.
    """
    if kind not in TYPES:
        raise CraftZooError(
            f"it is of type {kind!r}, and of the transformers library only models of the types "
            f"clip, {', '.join(TYPES)} are read"
        )
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    source, safe = name.partition(":")[2], {"trust_remote_code": False}
    with quiet(), _without_progress_bar():
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **safe)
            processor = AutoImageProcessor.from_pretrained(source, **safe)
        except (OSError, RuntimeError, TypeError, ValueError) as error:  # also where none is there
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise CraftZooError(
                f"its tokenizer and its image processor cannot be read ({reason}): save both "
                f"beside the weights, AutoProcessor.from_pretrained(ORIGINAL).save_pretrained(…)"
            ) from None
        if tokenizer.pad_token is None:
            raise CraftZooError(
                "its tokenizer has no token that fills up texts: set pad_token in "
                "tokenizer_config.json"
            )
        model, found = AutoModel.from_pretrained(source, output_loading_info=True, **safe)
    for what in ("missing", "mismatched"):
        if names := sorted(map(str, found[f"{what}_keys"])):
            raise CraftZooError(f"its weights have {what} keys, as {names[0]}")
    if names := sorted(found["unexpected_keys"]):
        warnings.warn(f"weights of {name} are left out, as {names[0]}", stacklevel=2)
    text, size = model.config.text_config, model.config.vision_config.image_size
    settings = image_settings(processor.to_dict(), f"the image processor of {name}", size)
    # SigLIP is trained on texts with their padding, whatever its tokenizer says of a mask.
    padding = None if kind == "siglip" else tokenizer.pad_token_id
    return (
        TransformersModel(model.float(), padding),
        image_transform_v2(PreprocessCfg(**settings), is_train=False),
        TransformersTokenizer(tokenizer, min(_MOST_TOKENS, text.max_position_embeddings)),
    )


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
