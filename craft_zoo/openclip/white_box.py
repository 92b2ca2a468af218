"""An open_clip model opened on class names, with gradients and layers, for white-box baselines."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from craft_zoo.blackbox.base import ImageSet
from craft_zoo.openclip.classifier import ImageFeatures
from craft_zoo.openclip.layers import inner_tokens, layers_of, recorded_spreads
from craft_zoo.openclip.text import (
    ForwardTextEncoder,
    Model,
    Tokenizer,
    alone_with,
    shortened,
    text_tower,
)


class WhiteBox:
    """A local model opened on class names, with gradients and layers, for white-box baselines.

    Attributes:
        layers: number of layers that can have tokens: those of the text tower, or of the image
            tower if that is a transformer with fewer; 0 without a text tower of open_clip.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer, classnames: Sequence[str], init: str
    ) -> None:
        self._scale, self._model = float(model.logit_scale.exp()), model
        # ``memory`` limits batches of __call__, which is not used here.
        self._encoder = ForwardTextEncoder(model, tokenizer, classnames, init, memory=2**30)
        self._tower = text_tower(model)
        text, image = len(layers_of(self._tower)), len(layers_of(model.visual))
        self.layers = min(text, image or text)

    def logits(self, context: Tensor, images: ImageSet, inner: Tensor | None = None) -> Tensor:
        """(N, C) logits of a context, in main memory and differentiable in the context.

        Args:
            context: (n_ctx, dim) or (C, n_ctx, dim).
            images: N images of the model.
            inner: (L - 1, n_ctx, dim) tokens that the layers 2 to L of the text tower read in the
                context's place; None: none.
        """
        assert isinstance(images, ImageFeatures)
        if inner is None:
            inner = context[:0]
        places = slice(self._encoder.start, self._encoder.stop)
        with (
            shortened(self._model, self._encoder.tokens) as tokens,
            inner_tokens(self._tower, places, inner),
        ):
            texts = self._encoder.encode(context[None], tokens)[0]
        return (self._scale * images.features @ texts.T).cpu()

    @torch.inference_mode()
    def spreads(self, context: Tensor) -> list[float]:
        """Spread of what each layer makes of the class prompts with a context (n_ctx, dim), see
        :func:`craft_zoo.openclip.layers.spread`."""
        with alone_with(self._model), recorded_spreads(self._tower) as found:
            self._encoder.encode(context[None], self._encoder.tokens)
        return found
