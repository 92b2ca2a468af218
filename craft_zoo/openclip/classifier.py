"""An open_clip model opened on class names or texts: its logits of encoded images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompts, own_images
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip.text import TextEncoder, WordEncoder

if TYPE_CHECKING:
    from craft_zoo.openclip.model import OpenCLIP

# Bytes of logits that are computed in one matrix product, if single prompts have fewer.
_LOGITS_TOGETHER = 2**23


class ImageFeatures(ImageSet):
    """Normalised image features (N, embed_dim), which only their model may read.

    ``lengths`` (N,) are those of the features before normalisation, where they are known.
    """

    def __init__(
        self,
        features: Tensor,
        owner: OpenCLIP,
        sources: Sequence[ImageSource],
        lengths: Tensor | None = None,
    ) -> None:
        super().__init__(sources, owner)
        self.features, self.lengths = features, lengths


class OpenCLIPTexts(BlackBox):
    """An open_clip model opened on texts. Logits are logit scale · cosine (+ bias)."""

    accepts = frozenset({"texts"})

    def __init__(
        self,
        owner: OpenCLIP,
        words: WordEncoder,
        classnames: Sequence[str],
        template: str,
    ) -> None:
        self._owner, self._words = owner, words
        self.template = template
        self._scale = float(owner._model.logit_scale.exp())
        bias = getattr(owner._model, "logit_bias", None)
        self._bias = 0.0 if bias is None else float(bias)
        self.classnames = tuple(classnames)

    @property
    def held_bytes(self) -> int:
        """See :attr:`BlackBox.held_bytes`."""
        return self._words.held_bytes

    def fits(self, prompt: str) -> bool:
        """See :meth:`BlackBox.fits`."""
        return self._words.fits(prompt)

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`."""
        yield from self._scores(self.texts(prompts), images)

    def texts(self, prompts: Prompts) -> Iterator[Tensor]:
        """Normalised features (C, embed_dim) of the texts under each prompt."""
        if isinstance(prompts, np.ndarray):
            raise CraftZooError(f"{self._owner.name} was opened on texts, which take no contexts")
        return self._words(prompts)

    def _scores(self, texts: Iterator[Tensor], images: ImageSet) -> Iterator[np.ndarray]:
        """Logits (N, C) for each prompt's text features (C, embed_dim)."""
        features = own_images(images, ImageFeatures, self._owner).features
        together = max(1, _LOGITS_TOGETHER // (4 * len(images) * len(self.classnames)))
        while some := list(islice(texts, together)):
            logits = torch.matmul(features, torch.stack(some).transpose(1, 2))
            yield from logits.mul_(self._scale).add_(self._bias).cpu().numpy()


class OpenCLIPClassifier(OpenCLIPTexts):
    """An open_clip model opened on class names, which accepts contexts too."""

    accepts = frozenset({"contexts", "texts"})

    def __init__(
        self,
        owner: OpenCLIP,
        encoder: TextEncoder,
        words: WordEncoder,
        classnames: Sequence[str],
        template: str,
    ) -> None:
        super().__init__(owner, words, classnames, template)
        self._encoder = encoder
        self._device = encoder.initial_context.device
        self.initial_context = encoder.initial_context.float().cpu().numpy()

    @property
    def held_bytes(self) -> int:
        """See :attr:`BlackBox.held_bytes`."""
        return super().held_bytes + self._encoder.held_bytes + self.initial_context.nbytes

    def texts(self, prompts: Prompts) -> Iterator[Tensor]:
        """Normalised features (C, embed_dim) of the class names under each prompt."""
        if isinstance(prompts, np.ndarray):
            return self._encoder(self._contexts(prompts))
        return super().texts(prompts)

    def _contexts(self, prompts: np.ndarray) -> Tensor:
        return torch.as_tensor(prompts, dtype=torch.float32, device=self._device)
