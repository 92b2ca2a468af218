"""What open_clip's text towers are made of, found by what they have rather than by name."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from craft_zoo.errors import PromptError

_PART = 64  # prompts that are tokenized in one piece

Tokenizer = Callable[[Sequence[str]], Tensor]
Model = Any  # open_clip is untyped, and nn.Module says nothing of the parts that a tower has


def text_tower(model: Model) -> Model:
    """Where open_clip keeps the text modules: on the model itself (CLIP) or in ``model.text``."""
    return model if hasattr(model, "token_embedding") else model.text


def token_embedding(model: Model) -> nn.Embedding:
    """The token embedding of any open_clip text tower."""
    tower = text_tower(model)
    if hasattr(tower, "token_embedding"):
        return tower.token_embedding
    return tower.transformer.get_input_embeddings()  # a Hugging Face text tower


def is_plainly_causal(model: Model) -> bool:
    """Whether each token sees itself and what is before it, and the last one is asked for."""
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


def tokens_of(tokenizer: Tokenizer, prompts: Sequence[str]) -> Tensor:
    """(n, context_length) token ids.

    Raises:
        PromptError: a prompt is longer than the model reads.
    """
    tokens = tokenizer(prompts)
    # What was cut equals that of a longer text with the same beginning; so does a prompt that just
    # fits, which alone equals what it is where there is room for more.
    longer = tokenizer([f"{prompt} and so on" for prompt in prompts])
    doubtful = (tokens == longer).all(dim=1).nonzero().flatten().tolist()
    fits = _fit(tokenizer, [prompts[place] for place in doubtful], tokens[doubtful])
    for place, fitting in zip(doubtful, fits, strict=True):
        if not fitting:
            raise PromptError(
                f"the prompt {prompts[place][:60]!r}… is longer than the model's "
                f"{tokens.shape[1]} tokens: shorten the class name"
            )
    return tokens


def _fit(tokenizer: Tokenizer, prompts: Sequence[str], tokens: Tensor) -> list[bool]:
    """Whether prompts are whole in their tokens (n, length)."""
    if not prompts:
        return []
    length = tokens.shape[1]
    try:  # open_clip's tokenizers can be given more room
        *roomy, short = tokenizer([*prompts, "x"], context_length=length + 1)  # type: ignore[call-arg]
    except TypeError:
        return [False] * len(prompts)
    return [
        torch.equal(own, ids[:length]) and bool(ids[length] == short[length])
        for own, ids in zip(tokens, roomy, strict=True)
    ]


def tokens_in_parts(tokenizer: Tokenizer, prompts: Sequence[str]) -> Generator[None, None, Tensor]:
    """What :func:`tokens_of` returns, with a yield between parts of some tens of milliseconds."""
    parts = []
    for first in range(0, len(prompts), _PART):
        if first:
            yield
        parts.append(tokens_of(tokenizer, prompts[first : first + _PART]))
    return torch.cat(parts)


def bytes_per_text(model: Model, length: int) -> int:
    """Memory that the text tower takes for a text of so many tokens, about."""
    embedding = token_embedding(model)
    width = embedding.embedding_dim
    # A block's activations beside the hidden layer of its MLP, and attention of 64 a head.
    floats = length * 14 * width + 2 * length**2 * max(1, width // 64)
    return floats * embedding.weight.element_size()


def end_positions(tower: Model, tokens: Tensor) -> Tensor:
    """(C,) position of the token whose features are the text's, as open_clip pools."""
    if _pool_type(tower) == "argmax":
        return tokens.argmax(dim=-1)
    eos_id = getattr(tower, "text_eos_id", None) or tower.eos_id
    return (tokens == eos_id).int().argmax(dim=-1)


@contextmanager
def shortened(model: Model, length: int) -> Iterator[None]:
    """Let a plainly causal tower take texts of ``length`` tokens, which must hold all ends."""
    tower = text_tower(model)
    positions, mask = tower.positional_embedding, tower.attn_mask
    tower.positional_embedding = nn.Parameter(positions[:length], requires_grad=False)
    tower.attn_mask = mask[:length, :length]
    try:
        yield
    finally:
        tower.positional_embedding, tower.attn_mask = positions, mask


def _pool_type(tower: Model) -> str:
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", ""))
