"""An open_clip model opened on class names with gradients, for white-box baselines."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from craft_zoo.blackbox.base import ImageSet
from craft_zoo.openclip.classifier import ImageFeatures
from craft_zoo.openclip.text import ForwardTextEncoder, Model, Tokenizer, shortened


class WhiteBox:
    """A local model opened on class names, with gradients, for white-box baselines."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, classnames: Sequence[str], init: str
    ) -> None:
        self._scale, self._model = float(model.logit_scale.exp()), model
        # ``memory`` limits batches of __call__, which is not used here.
        self._encoder = ForwardTextEncoder(model, tokenizer, classnames, init, memory=2**30)

    def logits(self, context: Tensor, images: ImageSet) -> Tensor:
        """(N, C) logits of a context (n_ctx, dim) or (C, n_ctx, dim), differentiable in it."""
        assert isinstance(images, ImageFeatures)
        with shortened(self._model, self._encoder.tokens) as tokens:
            texts = self._encoder.encode(context[None], tokens)[0]
        return self._scale * images.features @ texts.T
