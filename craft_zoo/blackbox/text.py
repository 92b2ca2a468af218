"""Text towers with soft contexts: ``[SOS] ctx_1 … ctx_n [name of c] . [EOS]`` for each class c.

Two encoders give the same features. :class:`CausalTextEncoder` computes only what can reach the
answer; :class:`TextEncoder` runs the model's own forward pass and so serves every tower.
:func:`text_encoder` chooses by what the tower is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from craft_zoo.errors import CraftZooError

Tokenizer = Callable[[Sequence[str]], Tensor]
Model = Any  # open_clip is untyped, and nn.Module says nothing of the parts that a tower has

# Floats that one block of texts may hold in its widest activation (256 MB in float32).
_BLOCK_FLOATS = 64_000_000


class TextEncoder:
    """Features of C class prompts under P contexts, by the model's own ``encode_text``.

    The context is put in by a hook on the token embedding, so nothing is assumed of the tower
    but that it embeds tokens one by one.

    Args:
        model: an open_clip model.
        tokenizer: its tokenizer.
        classnames: C names in words.
        init: the words that the context replaces; their tokens are the context's positions.

    Attributes:
        initial_context: (n_ctx, dim) embeddings of ``init``.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer, classnames: Sequence[str], init: str
    ) -> None:
        self.model = model
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

    def _check_names_fit(self, tokenizer: Tokenizer, prompts: Sequence[str]) -> None:
        # A truncated prompt equals that of any longer text with the same beginning.
        longer = tokenizer([prompt + " and so on" for prompt in prompts]).to(self.tokens.device)
        for prompt, ids, longer_ids in zip(prompts, self.tokens, longer, strict=True):
            if torch.equal(ids, longer_ids):
                raise CraftZooError(
                    f"the prompt {prompt[:60]!r}… is longer than the model's "
                    f"{self.tokens.shape[1]} tokens: shorten the class name"
                )

    @torch.inference_mode()
    def __call__(self, contexts: Tensor) -> Tensor:
        """Normalised features, (P, n_ctx, dim) → (P, C, embed_dim)."""
        return torch.stack([self._encode(context) for context in contexts])

    def _encode(self, context: Tensor) -> Tensor:
        def put_context(_module: nn.Module, _inputs: object, embedded: Tensor) -> Tensor:
            embedded = embedded.clone()
            embedded[:, self.start : self.stop] = context.to(embedded.dtype)
            return embedded

        hook = self.embedding.register_forward_hook(put_context)
        try:
            return self.model.encode_text(self.tokens, normalize=True)
        finally:
            hook.remove()


class CausalTextEncoder(TextEncoder):
    """The same features for a causal tower, from only the positions that reach the answer.

    Nothing after the end-of-text token can reach it, so the sequence ends there, and classes are
    grouped by length so that no padding is computed. ``[SOS] ctx`` cannot see the class name, so
    its keys and values are computed once a context and shared by all classes. In the last layer
    only the end-of-text position is asked for.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer, classnames: Sequence[str], init: str
    ) -> None:
        super().__init__(model, tokenizer, classnames, init)
        self.tower = text_tower(model)
        self.blocks = list(self.tower.transformer.resblocks)
        start, stop = self.start, self.stop
        position = self.tower.positional_embedding.detach()
        with torch.inference_mode():
            self._sos = self.embedding(self.tokens[0, :start]) + position[:start]
            self._context_position = position[start:stop]
            ends = _end_positions(self.tower, self.tokens)
            self._groups: list[tuple[Tensor, Tensor]] = []  # class indices, embedded names
            for end in sorted(set(ends.tolist())):
                index = torch.nonzero(ends == end).flatten()
                names = self.embedding(self.tokens[index, stop : end + 1])
                self._groups.append((index, names + position[stop : end + 1]))

    @torch.inference_mode()
    def __call__(self, contexts: Tensor) -> Tensor:
        """Normalised features, (P, n_ctx, dim) → (P, C, embed_dim)."""
        contexts = contexts.to(self._sos.dtype)
        features = None
        for rows in torch.arange(len(contexts)).split(self._contexts_per_block()):
            keys_values = self._encode_prefix(contexts[rows])
            for index, names in self._groups:
                encoded = self._encode_names(keys_values, names)
                if features is None:
                    shape = (len(contexts), len(self.tokens), encoded.shape[-1])
                    features = encoded.new_empty(shape)
                features[rows[:, None], index.cpu()[None, :]] = encoded
        assert features is not None
        return F.normalize(features, dim=-1)

    def _contexts_per_block(self) -> int:
        widest = max(names.shape[0] * names.shape[1] for _, names in self._groups)
        width = max(block.mlp.c_fc.out_features for block in self.blocks)
        return max(1, _BLOCK_FLOATS // (widest * width))

    def _encode_prefix(self, contexts: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values (P, heads, 1 + n_ctx, head_dim) of ``[SOS] ctx`` in every layer."""
        sos = self._sos.expand(len(contexts), -1, -1)
        x = torch.cat([sos, contexts + self._context_position], dim=1)
        keys_values = []
        for block in self.blocks:
            query, key, value = _project(block, x)
            keys_values.append((key, value))
            if block is not self.blocks[-1]:
                attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
                x = _finish(block, x, attended)
        return keys_values

    def _encode_names(self, keys_values: list[tuple[Tensor, Tensor]], names: Tensor) -> Tensor:
        """Features (P, C', embed_dim) of C' class names of one length, (C', length, dim)."""
        n_contexts, (n_names, length, width) = len(keys_values[0][0]), names.shape
        x = names.expand(n_contexts, n_names, length, width).reshape(-1, length, width)
        for block, (prefix_key, prefix_value) in zip(self.blocks, keys_values, strict=True):
            query, key, value = _project(block, x)
            if block is self.blocks[-1]:
                query, x = query[:, :, -1:], x[:, -1:]
            attended = _attend_with_prefix(query, key, value, prefix_key, prefix_value)
            x = _finish(block, x, attended)
        x = self.tower.ln_final(x[:, -1])
        projection = self.tower.text_projection
        if projection is not None:
            x = projection(x) if isinstance(projection, nn.Module) else x @ projection
        return x.reshape(n_contexts, n_names, -1)


def text_encoder(
    model: Model, tokenizer: Tokenizer, classnames: Sequence[str], init: str
) -> TextEncoder:
    """The fastest encoder that is right for the model's text tower.

    Raises:
        CraftZooError: a class name is too long, or merges with the initial words.
    """
    encoder = CausalTextEncoder if _is_plainly_causal(model) else TextEncoder
    return encoder(model, tokenizer, classnames, init)


def text_tower(model: Model) -> Model:
    """Where open_clip keeps the text modules: on the model itself (CLIP) or in ``model.text``."""
    return model if hasattr(model, "token_embedding") else model.text


def token_embedding(model: Model) -> nn.Embedding:
    """The token embedding of any open_clip text tower."""
    tower = text_tower(model)
    if hasattr(tower, "token_embedding"):
        return tower.token_embedding
    return tower.transformer.get_input_embeddings()  # a Hugging Face text tower


def _context_span(tokenizer: Tokenizer, init: str) -> tuple[int, int]:
    """First position of the initial words' tokens, and the one after their last."""
    x, y, prompt = (tokenizer([text])[0] for text in ("x", "y", f"{init} x"))
    start = int((x != y).nonzero()[0])  # 1 behind a start-of-text token, 0 in towers without one
    stop = int((prompt == x[start]).nonzero()[-1])
    if stop <= start:
        raise CraftZooError("the initial words are empty: give at least one, as in 'a photo of a'")
    return start, stop


def _is_plainly_causal(model: Model) -> bool:
    tower = text_tower(model)
    mask = getattr(tower, "attn_mask", None)
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", [])
    return (
        mask is not None
        and bool((mask == torch.full_like(mask, float("-inf")).triu(1)).all())
        and getattr(tower, "cls_emb", None) is None
        and _pool_type(tower) in ("argmax", "eos")
        and len(blocks) > 0
        and all(type(block) is ResidualAttentionBlock for block in blocks)
    )


def _pool_type(tower: Model) -> str:
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", ""))


def _end_positions(tower: Model, tokens: Tensor) -> Tensor:
    """(C,) position of the token whose features are the text's, as open_clip pools."""
    if _pool_type(tower) == "argmax":
        return tokens.argmax(dim=-1)
    eos_id = getattr(tower, "text_eos_id", None) or tower.eos_id
    return (tokens == eos_id).int().argmax(dim=-1)


def _project(block: ResidualAttentionBlock, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (batch, heads, length, head_dim) of x (batch, length, dim)."""
    attention = block.attn
    projected = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    batch, length, _ = projected.shape
    split = projected.view(batch, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    return split[0], split[1], split[2]


def _finish(block: ResidualAttentionBlock, x: Tensor, attended: Tensor) -> Tensor:
    """The rest of the block after attention; ``attended`` is (batch, heads, length, head_dim)."""
    attended = attended.transpose(1, 2).reshape(x.shape)
    x = x + block.ls_1(block.attn.out_proj(attended))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _attend_with_prefix(
    query: Tensor, key: Tensor, value: Tensor, prefix_key: Tensor, prefix_value: Tensor
) -> Tensor:
    """Causal attention of class names that all see the prefix of their context.

    Args:
        query: (P·C', heads, q, head_dim), the last q of the name's positions.
        key: (P·C', heads, length, head_dim), as ``value``.
        prefix_key: (P, heads, 1 + n_ctx, head_dim), as ``prefix_value``.
    """
    batch, heads, length, head_dim = key.shape
    n_queries, n_prefix, n_contexts = query.shape[2], prefix_key.shape[2], len(prefix_key)
    query = query * head_dim**-0.5
    # The prefix serves all names of a context: one product a context and head, not one a name.
    by_context = query.view(n_contexts, -1, heads, n_queries, head_dim).transpose(1, 2)
    by_context = by_context.reshape(n_contexts, heads, -1, head_dim)
    to_prefix = (by_context @ prefix_key.transpose(-2, -1)).view(
        n_contexts, heads, -1, n_queries, n_prefix
    )
    to_prefix = to_prefix.transpose(1, 2).reshape(batch, heads, n_queries, n_prefix)
    to_name = query @ key.transpose(-2, -1)
    if n_queries > 1:
        hidden = torch.ones(n_queries, length, dtype=torch.bool, device=key.device).triu(1)
        to_name = to_name.masked_fill(hidden, float("-inf"))
    weights = torch.cat([to_prefix, to_name], dim=-1).softmax(dim=-1)
    on_prefix = weights[..., :n_prefix].reshape(n_contexts, -1, heads, n_queries, n_prefix)
    on_prefix = on_prefix.transpose(1, 2).reshape(n_contexts, heads, -1, n_prefix)
    from_prefix = (on_prefix @ prefix_value).view(n_contexts, heads, -1, n_queries, head_dim)
    from_prefix = from_prefix.transpose(1, 2).reshape(batch, heads, n_queries, head_dim)
    return from_prefix + weights[..., n_prefix:] @ value
