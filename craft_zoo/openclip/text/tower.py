"""Access to the parts of open_clip's text towers, recognised by their attributes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from craft_zoo.errors import PromptError

_PART = 64  # prompts that are tokenized between two yields

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()  # a re-entrant one a model
_MAKING = Lock()

Tokenizer = Callable[[Sequence[str]], Tensor]
Model = Any  # open_clip is untyped, and nn.Module does not declare the parts of a tower


@contextmanager
def alone_with(model: Model) -> Iterator[None]:
    """Within, no other thread computes with the model.

    Hooks and shortened contexts change a model for all threads while one of them computes.
    """
    with _MAKING:
        lock = _LOCKS.setdefault(model, RLock())
    with lock:
        yield


def text_tower(model: Model) -> Model:
    """The module with the text modules: the model itself (CLIP) or ``model.text``."""
    return model if hasattr(model, "token_embedding") else model.text


def token_embedding(model: Model) -> nn.Embedding:
    """The token embedding of an open_clip text tower."""
    tower = text_tower(model)
    if hasattr(tower, "token_embedding"):
        return tower.token_embedding
    return tower.transformer.get_input_embeddings()  # a Hugging Face text tower


def is_plainly_causal(model: Model) -> bool:
    """Whether the mask is purely causal and the features are those of the end-of-text token."""
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
    """Tokenize prompts to ids (n, context_length).

    Raises:
        PromptError: a prompt is longer than the model's context.
    """
    tokens = tokenizer(prompts)
    # A truncated prompt has the same tokens as a longer text with that beginning. So has a prompt
    # that fits exactly, which _fit distinguishes by tokenizing with a longer context.
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
    """Whether the tokens (n, length) of each prompt are complete."""
    if not prompts:
        return []
    length = tokens.shape[1]
    try:  # only open_clip's own tokenizers accept a context length
        *roomy, short = tokenizer([*prompts, "x"], context_length=length + 1)  # type: ignore[call-arg]
    except TypeError:
        return [False] * len(prompts)
    return [
        torch.equal(own, ids[:length]) and bool(ids[length] == short[length])
        for own, ids in zip(tokens, roomy, strict=True)
    ]


def tokens_in_parts(tokenizer: Tokenizer, prompts: Sequence[str]) -> Generator[None, None, Tensor]:
    """As :func:`tokens_of`, yielding between parts of some tens of milliseconds."""
    parts = []
    for first in range(0, len(prompts), _PART):
        if first:
            yield
        parts.append(tokens_of(tokenizer, prompts[first : first + _PART]))
    return torch.cat(parts)


def bytes_per_text(model: Model, length: int) -> int:
    """Approximate memory of the text tower's activations for a text of ``length`` tokens."""
    embedding = token_embedding(model)
    width = embedding.embedding_dim
    # A block's activations including its MLP, and attention weights with heads of dimension 64.
    floats = length * 14 * width + 2 * length**2 * max(1, width // 64)
    return floats * embedding.weight.element_size()


def end_positions(tower: Model, tokens: Tensor) -> Tensor:
    """(C,) position of the token whose features represent the text, as open_clip pools it."""
    if _pool_type(tower) == "argmax":
        return tokens.argmax(dim=-1)
    eos_id = getattr(tower, "text_eos_id", None) or tower.eos_id
    return (tokens == eos_id).int().argmax(dim=-1)


@contextmanager
def shortened(model: Model, tokens: Tensor) -> Iterator[Tensor]:
    """Limit a causal tower's context to what affects the features of ``tokens`` (C, length).

    No other thread computes with the model meanwhile, see :func:`alone_with`.

    Yields:
        The tokens up to the last end of a text; all of them if the tower is not plainly causal.
    """
    with alone_with(model):
        if not is_plainly_causal(model):
            yield tokens
            return
        tower = text_tower(model)
        length = int(end_positions(tower, tokens).max()) + 1
        positions, mask = tower.positional_embedding, tower.attn_mask
        tower.positional_embedding = nn.Parameter(positions[:length], requires_grad=False)
        tower.attn_mask = mask[:length, :length]
        try:
            yield tokens[:, :length]
        finally:
            tower.positional_embedding, tower.attn_mask = positions, mask


def _pool_type(tower: Model) -> str:
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", ""))
