"""Base class of text encoders for prompts ``[SOS] ctx_1 … ctx_n [name of c] . [EOS]``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from craft_zoo.blackbox.templates import as_template, fill, words_before
from craft_zoo.errors import PromptError
from craft_zoo.openclip.text.tower import (
    Model,
    Tokenizer,
    alone_with,
    bytes_per_text,
    token_embedding,
    tokens_of,
)

_CONTINUATIONS = ("x", "cat", "7")  # without a common first token


class TextEncoder(ABC):
    """Computes features of C class prompts for each of P contexts.

    Args:
        model: an open_clip model.
        tokenizer: its tokenizer.
        classnames: C class names.
        init: initial prompt, as words or as a template; the context replaces the embeddings of
            the words before the class name.
        memory: bytes that encoding may use in addition to the model.
        compile: run a causal tower through :func:`torch.compile`.
        tokens: (C, context_length) token ids of the prompts; None: they are computed.

    Attributes:
        initial_context: (n_ctx, dim) embeddings of the words before the class name.
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
        tokens: Tensor | None = None,
    ) -> None:
        self.model, self._memory, self._compile = model, memory, compile
        self.embedding = token_embedding(model)
        device = self.embedding.weight.device
        template = as_template(init)
        if tokens is None:
            tokens = tokens_of(tokenizer, [fill(template, name) for name in classnames])
        self.tokens = tokens.to(device)
        self.start, self.stop = _context_span(tokenizer, template)
        context_ids = self.tokens[:, self.start : self.stop]
        if not (context_ids == context_ids[0]).all():
            raise PromptError(f"the initial words {init!r} merge with a class name: change them")
        with alone_with(model):
            self.initial_context = self.embedding(context_ids[0]).detach()
            with torch.inference_mode():
                self._prepare()

    @property
    def held_bytes(self) -> int:
        """Bytes that it currently holds, without the model."""
        return self.tokens.nbytes + self.initial_context.nbytes

    def _prepare(self) -> None:  # noqa: B027, not every encoder has something to prepare
        """Compute everything that does not depend on contexts."""

    @abstractmethod
    def __call__(self, contexts: Tensor) -> Iterator[Tensor]:
        """Normalised float32 features for each context.

        Args:
            contexts: (P, n_ctx, dim), or (P, C, n_ctx, dim) with a context for each class.

        Returns:
            P tensors (C, embed_dim).
        """

    def batching_key(self) -> Hashable:
        """Encoders with equal keys are faster in :meth:`together`; None: never."""
        return None

    def together(self, asked: Sequence[tuple[TextEncoder, Tensor]]) -> list[Tensor]:
        """Features (P, C, embed_dim) of several label sets, each under its own contexts.

        Args:
            asked: encoders with equal batching keys, each with its contexts (see __call__).
        """
        return [torch.stack(list(encoder(contexts))) for encoder, contexts in asked]


class ForwardTextEncoder(TextEncoder):
    """Text encoder that uses the model's own ``encode_text``, and so supports every tower.

    A hook on the token embedding inserts the contexts. The tower need only embed tokens
    individually.
    """

    @torch.inference_mode()
    def __call__(self, contexts: Tensor) -> Iterator[Tensor]:
        """See :meth:`TextEncoder.__call__`."""
        texts = max(1, self._memory // bytes_per_text(self.model, self.tokens.shape[1]))
        if texts >= len(self.tokens):
            for some in contexts.split(texts // len(self.tokens)):
                yield from self.encode(some, self.tokens)
        else:
            for context in contexts.split(1):
                tokens = self.tokens.split(texts)
                own = context.split(texts, dim=1) if contexts.ndim == 4 else [context] * len(tokens)
                yield torch.cat([self.encode(*some)[0] for some in zip(own, tokens, strict=True)])

    def encode(self, contexts: Tensor, tokens: Tensor) -> Tensor:
        """(k, n_ctx, dim) contexts, (c, length) tokens → (k, c, embed_dim), with gradients.

        Contexts may also be (k, c, n_ctx, dim).
        """
        span = slice(self.start, self.stop)

        def put_contexts(_module: nn.Module, _inputs: object, embedded: Tensor) -> Tensor:
            by_context = embedded.view(len(contexts), len(tokens), *embedded.shape[1:]).clone()
            by_context[:, :, span] = contexts.view(len(contexts), -1, *contexts.shape[-2:]).to(
                embedded.dtype
            )
            return by_context.view_as(embedded)

        with alone_with(self.model):
            hook = self.embedding.register_forward_hook(put_contexts)
            try:
                features = self.model.encode_text(tokens.repeat(len(contexts), 1))
            finally:
                hook.remove()
        features = F.normalize(features.float(), dim=-1)
        return features.view(len(contexts), len(tokens), -1)


def _context_span(tokenizer: Tokenizer, template: str) -> tuple[int, int]:
    """Begin and end position of the tokens of the words before the class name."""
    before = words_before(template)
    if not before:
        raise PromptError(
            f"the prompt {template!r} has no words before the class name, where a context would "
            f"stand: begin it with some, as in 'a photo of a'"
        )
    start = _common_tokens(tokenizer, "")
    stop = _common_tokens(tokenizer, f"{before} ")
    if stop <= start:
        raise PromptError(
            f"the model's tokenizer gives the words {before!r} no tokens at the beginning of a "
            f"text, where a context would stand: begin the prompt with other words, or set "
            f"padding_side to 'right' in tokenizer_config.json"
        )
    return start, stop


def _common_tokens(tokenizer: Tokenizer, beginning: str) -> int:
    """Number of tokens with which texts begin that have this beginning and continue differently.

    Tokenizers write a word as another token at the beginning of a text than behind a space
    (RoBERTa, Gemma), or as a space and letters (T5), so tokens of the words are not looked for.
    """
    tokens = tokenizer([beginning + word for word in _CONTINUATIONS])
    return int((tokens == tokens[0]).all(dim=0).cumprod(0).sum())
