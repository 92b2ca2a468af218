"""Text encoders that accept contexts, that is, embeddings in place of the prompt's first words.

There are two encoders with equal features: :class:`CausalTextEncoder` is fast and needs a causal
text tower; :class:`ForwardTextEncoder` uses the model's own forward pass and supports every tower.
:func:`text_encoder` chooses one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from craft_zoo.openclip.text.causal import CausalTextEncoder
from craft_zoo.openclip.text.encoder import ForwardTextEncoder, TextEncoder
from craft_zoo.openclip.text.tower import (
    Model,
    Tokenizer,
    is_plainly_causal,
    shortened,
    token_embedding,
    tokens_in_parts,
)
from craft_zoo.openclip.text.words import WordEncoder

__all__ = [
    "CausalTextEncoder",
    "ForwardTextEncoder",
    "Model",
    "TextEncoder",
    "Tokenizer",
    "WordEncoder",
    "shortened",
    "text_encoder",
    "token_embedding",
    "tokens_in_parts",
]


def text_encoder(
    model: Model,
    tokenizer: Tokenizer,
    classnames: Sequence[str],
    init: str,
    *,
    memory: int,
    compile: bool = False,
    tokens: Tensor | None = None,
) -> TextEncoder:
    """Create the fastest encoder that supports the model's text tower.

    The arguments are those of :class:`TextEncoder`.

    Raises:
        CraftZooError: a class name is too long, or its tokens merge with the initial words.
    """
    encoder = CausalTextEncoder if is_plainly_causal(model) else ForwardTextEncoder
    return encoder(
        model, tokenizer, classnames, init, memory=memory, compile=compile, tokens=tokens
    )
