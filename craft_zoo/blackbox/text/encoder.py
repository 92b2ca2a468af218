"""Text towers with soft contexts: ``[SOS] ctx_1 … ctx_n [name of c] . [EOS]`` for each class c."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from craft_zoo.blackbox.text.tower import Model, Tokenizer, token_embedding
from craft_zoo.errors import CraftZooError


class TextEncoder(ABC):
    """Features of C class prompts under P contexts.

    Args:
        model: an open_clip model.
        tokenizer: its tokenizer.
        classnames: C names in words.
        init: the words that the context replaces; their tokens are the context's positions.
        memory: bytes that may be held while encoding, beside the model.
        compile: run a causal tower through :func:`torch.compile`.

    Attributes:
        initial_context: (n_ctx, dim) embeddings of ``init``.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        classnames: Sequence[str],
        init: str,
        *,
        memory: int,
        compile: bool = False,
    ) -> None:
        self.model, self._memory, self._compile = model, memory, compile
        self.embedding = token_embedding(model)
        device = self.embedding.weight.device
        prompts = [f"{init} {name}." for name in classnames]
        self.tokens = tokenizer(prompts).to(device)
        self.start, self.stop = _context_span(tokenizer, init)
        self._check_names_fit(tokenizer, prompts)
        context_ids = self.tokens[:, self.start : self.stop]
        if not (context_ids == context_ids[0]).all():
            raise CraftZooError(f"the initial words {init!r} merge with a class name: change them")
        self.initial_context = self.embedding(context_ids[0]).detach()
        with torch.inference_mode():
            self._prepare()

    def _prepare(self) -> None:  # noqa: B027, not every encoder has something to prepare
        """Work out what stays the same for all contexts."""

    def _check_names_fit(self, tokenizer: Tokenizer, prompts: Sequence[str]) -> None:
        # A truncated prompt equals that of any longer text with the same beginning.
        longer = tokenizer([prompt + " and so on" for prompt in prompts]).to(self.tokens.device)
        for prompt, ids, longer_ids in zip(prompts, self.tokens, longer, strict=True):
            if torch.equal(ids, longer_ids):
                raise CraftZooError(
                    f"the prompt {prompt[:60]!r}… is longer than the model's "
                    f"{self.tokens.shape[1]} tokens: shorten the class name"
                )

    @abstractmethod
    def __call__(self, contexts: Tensor) -> Iterator[Tensor]:
        """Normalised float32 features under one context after another.

        Args:
            contexts: (P, n_ctx, dim), or (P, C, n_ctx, dim): each class behind its own.

        Returns:
            P tensors (C, embed_dim).
        """


class ForwardTextEncoder(TextEncoder):
    """Features by the model's own ``encode_text``, so right for every tower.

    The contexts are put in by a hook on the token embedding: nothing is assumed of the tower but
    that it embeds tokens one by one.
    """

    @torch.inference_mode()
    def __call__(self, contexts: Tensor) -> Iterator[Tensor]:
        """See :meth:`TextEncoder.__call__`."""
        texts = max(1, self._memory // self._bytes_per_text())
        if texts >= len(self.tokens):
            for some in contexts.split(texts // len(self.tokens)):
                yield from self.encode(some, self.tokens)
        else:
            for context in contexts.split(1):
                tokens = self.tokens.split(texts)
                own = context.split(texts, dim=1) if contexts.ndim == 4 else [context] * len(tokens)
                yield torch.cat([self.encode(*some)[0] for some in zip(own, tokens, strict=True)])

    def _bytes_per_text(self) -> int:
        length, width = self.tokens.shape[1], self.embedding.embedding_dim
        # A block's activations beside the hidden layer of its MLP, and attention of 64 a head.
        floats = length * 14 * width + 2 * length**2 * max(1, width // 64)
        return floats * self.embedding.weight.element_size()

    def encode(self, contexts: Tensor, tokens: Tensor) -> Tensor:
        """(k, n_ctx, dim) contexts, (c, length) tokens → (k, c, embed_dim), with gradients.

        Contexts may be (k, c, n_ctx, dim) too.
        """
        span = slice(self.start, self.stop)

        def put_contexts(_module: nn.Module, _inputs: object, embedded: Tensor) -> Tensor:
            by_context = embedded.view(len(contexts), len(tokens), *embedded.shape[1:]).clone()
            by_context[:, :, span] = contexts.view(len(contexts), -1, *contexts.shape[-2:]).to(
                embedded.dtype
            )
            return by_context.view_as(embedded)

        hook = self.embedding.register_forward_hook(put_contexts)
        try:
            features = self.model.encode_text(tokens.repeat(len(contexts), 1))
        finally:
            hook.remove()
        features = F.normalize(features.float(), dim=-1)
        return features.view(len(contexts), len(tokens), -1)


def _context_span(tokenizer: Tokenizer, init: str) -> tuple[int, int]:
    """First position of the initial words' tokens, and the one after their last."""
    x, y, prompt = (tokenizer([text])[0] for text in ("x", "y", f"{init} x"))
    start = int((x != y).nonzero()[0])  # 1 behind a start-of-text token, 0 in towers without one
    stop = int((prompt == x[start]).nonzero()[-1])
    if stop <= start:
        raise CraftZooError("the initial words are empty: give at least one, as in 'a photo of a'")
    return start, stop
