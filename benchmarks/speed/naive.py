"""Naive reference implementation of text scoring, for benchmarks and tests of the engine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.openclip.text import Model, Tokenizer


class NaiveScorer:
    """Text features of one context at a time, with all sequences padded to the full length.

    This is the scheme of CoOp's code and of its derivatives. It shares only the model with the
    engine.

    Args:
        model: an open_clip model of the class ``CLIP``.
        tokenizer: its tokenizer.
        classnames: C class names.
        cut: truncate the sequences after the last end-of-text token of any class.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        classnames: Sequence[str],
        *,
        cut: bool = False,
    ) -> None:
        self.model = model
        tokens = tokenizer([f"{DEFAULT_INIT} {name}." for name in classnames])
        self.ends = tokens.argmax(dim=-1)
        self.length = int(self.ends.max()) + 1 if cut else tokens.shape[1]
        n_context = len(DEFAULT_INIT.split())
        embedded = model.token_embedding(tokens[:, : self.length]).detach()
        self.initial_context = embedded[0, 1 : 1 + n_context]
        self._prefix, self._suffix = embedded[:, :1], embedded[:, 1 + n_context :]

    @torch.inference_mode()
    def __call__(self, context: Tensor) -> Tensor:
        """(n_ctx, dim) → (C, embed_dim), normalised."""
        model, length = self.model, self.length
        context = context.expand(len(self.ends), -1, -1)
        x = torch.cat([self._prefix, context, self._suffix], dim=1)
        x = x + model.positional_embedding[:length]
        x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
        x = model.ln_final(x)[torch.arange(len(x)), self.ends] @ model.text_projection
        return F.normalize(x, dim=-1)
